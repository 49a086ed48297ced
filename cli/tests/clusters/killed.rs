//! A daemon is killed in the middle of msyncs, and started anew: what was acknowledged is there after both clients have been
//! mounted anew.

use crate::mounts::Cluster;
use preload_tests::harness::{Outcome, Program};
use std::fs;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
const PAGES: usize = 8;
/// How long the guest stores and syncs; the daemon is killed in the middle.
const SECONDS: u64 = 6;

pub struct Found {
    pub zeros: u64,
    pub failed: u64,
    /// Syncs that returned 0, and a new open on the second client did not show it.
    pub old: u64,
    /// Pages that are older afterwards than a sync of theirs that returned 0.
    pub lost: usize,
}

impl Found {
    pub fn words(&self) -> String {
        format!(
            "{} synced, {} failed, {} lost",
            self.zeros, self.failed, self.lost
        )
    }
}

/// Natively, under keepmydata, and with `KEEPMYDATA_SEEN_BY`; a 0 is a proof in these.
pub fn try_it(cluster: &mut Cluster) -> Result<[Found; 3], String> {
    let seen_by = format!("{}={}", cluster.first.display(), cluster.second.display());
    let strict = ("KEEPMYDATA_UNCERTAIN", "error");
    let natively = one(cluster, "native", None)?;
    let shimmed = one(cluster, "shimmed", Some(&[strict]))?;
    let seen = one(
        cluster,
        "seen",
        Some(&[strict, ("KEEPMYDATA_SEEN_BY", &seen_by)]),
    )?;
    Ok([natively, shimmed, seen])
}

fn one(
    cluster: &mut Cluster,
    name: &str,
    settings: Option<&[(&str, &str)]>,
) -> Result<Found, String> {
    let (first, second) = (cluster.first.join(name), cluster.second.join(name));
    fs::write(&first, vec![0; PAGES * PAGE]).map_err(|error| format!("{name}: {error}"))?;
    let guest = Program::guest("acked")
        .arg(&first)
        .arg(SECONDS.to_string())
        .arg(&second);
    let run = match settings {
        None => guest.start_natively(),
        Some(settings) => guest.start_under_shim(settings),
    };
    thread::sleep(Duration::from_secs(SECONDS / 3));
    cluster.kill(Duration::from_secs(1))?;
    let outcome = run.wait(Duration::from_secs(120));
    cluster.mount_anew()?;
    let field = |field: &str| {
        let lines = outcome
            .stdout
            .lines()
            .filter_map(|line| line.split_once(' '));
        let mut values = lines
            .filter(|(name, _)| *name == field)
            .map(|(_, value)| value.to_owned());
        values.next().ok_or_else(|| format!("{name}: {outcome:?}"))
    };
    let number = |name: &str| field(name)?.parse().map_err(|_| format!("{outcome:?}"));
    Ok(Found {
        zeros: number("zeros")?,
        failed: number("failed")?,
        old: number("old")?,
        lost: lost_in_the_end(&second, &field("acked")?, &outcome)?,
    })
}

/// A client may hand on late what it had kept on its disk.
fn lost_in_the_end(
    path: &std::path::Path,
    acked: &str,
    outcome: &Outcome,
) -> Result<usize, String> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let found = lost(path, acked, outcome);
        if found == Ok(0) || Instant::now() > until {
            return found;
        }
        thread::sleep(Duration::from_millis(200));
    }
}

fn lost(path: &std::path::Path, acked: &str, outcome: &Outcome) -> Result<usize, String> {
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = vec![0; PAGES * PAGE];
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    let acked: Vec<u64> = acked
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    assert_eq!(acked.len(), PAGES, "{outcome:?}");
    let word = |at: usize| {
        bytes[at..]
            .first_chunk()
            .map_or(0, |word| u64::from_le_bytes(*word))
    };
    let ends = |page: usize| [word(page * PAGE), word((page + 1) * PAGE - 8)];
    Ok((0..PAGES)
        .filter(|&page| ends(page).iter().any(|&found| found < acked[page]))
        .count())
}
