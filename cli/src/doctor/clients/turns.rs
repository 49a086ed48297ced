//! Two writers that take turns under a record lock: each looks for what the other has stored, stores its own, syncs, and
//! checks in the end that nothing of it is lost. A client that writes stale pages back takes away what the other wrote.

use super::case::Client;
use crate::sys::{Aligned, Mapping, lock_records};
use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
/// The file has so many pages.
pub const PAGES: usize = 16;
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Turn {
    pub file: String,
    pub client: Client,
    /// What this client and the other one have stored last.
    pub own: u64,
    pub others: u64,
    /// What it stores now; nothing in the last look.
    pub next: Option<u64>,
    /// How long it looks for what the other has stored, ms.
    pub patience_ms: u64,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turned {
    /// Whether the other's last store was there, in all its places.
    pub saw_others: bool,
    /// Whether this client's was.
    pub kept_own: bool,
}

/// Where a client stores: in the page that both share, and in one of its own beside the other's.
fn places(client: Client) -> [u64; 2] {
    let page = PAGE as u64;
    match client {
        Client::First => [0, page],
        Client::Second => [64, 2 * page],
    }
}

impl Turn {
    pub fn take(&self, path: &Path) -> io::Result<Turned> {
        let began = Instant::now();
        let patience = Duration::from_millis(self.patience_ms);
        let mut turned = Turned::default();
        // Anew until it is seen: some clients look at the server only when a file is opened, or locked.
        let file = loop {
            let file = File::options().read(true).write(true).open(path)?;
            turned.saw_others = {
                let _lock = lock_records(&file, true)?;
                if self.next.is_none() {
                    // The last word is the filesystem's.
                    fadvise(&file, 0, None, Advice::DontNeed)?;
                }
                holds(&file, self.client.other(), self.others)?
            };
            if turned.saw_others || began.elapsed() > patience {
                break file;
            }
            thread::sleep(PAUSE);
        };
        // As the one before it, which the other client has not taken meanwhile: it waits for the end of this turn.
        let _lock = lock_records(&file, true)?;
        turned.kept_own = holds(&file, self.client, self.own)?;
        if self.next.is_none() {
            turned.kept_own &= past_cache(path, self.client, self.own)?;
        }
        if let Some(next) = self.next {
            let mapping = Mapping::new(&file, PAGES * PAGE)?;
            for place in places(self.client) {
                mapping.store(place as usize, &next.to_le_bytes());
            }
            mapping.sync()?;
        }
        Ok(turned)
    }
}

fn holds(file: &File, client: Client, value: u64) -> io::Result<bool> {
    for place in places(client) {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, place)?;
        if u64::from_le_bytes(bytes) != value {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The same, read past the page cache; true where that cannot be.
fn past_cache(path: &Path, client: Client, value: u64) -> io::Result<bool> {
    let flags = libc::O_DIRECT;
    let Ok(file) = File::options().read(true).custom_flags(flags).open(path) else {
        return Ok(true);
    };
    let mut room = Aligned::new(3 * PAGE);
    let bytes = room.bytes();
    if file.read_exact_at(bytes, 0).is_err() {
        return Ok(true);
    }
    let at = |place: u64| {
        bytes[place as usize..]
            .first_chunk()
            .map(|word| u64::from_le_bytes(*word))
    };
    Ok(places(client).iter().all(|&place| at(place) == Some(value)))
}
