//! All cases between two clients, and the turns.

use super::case::{self, Case, Client, Opened, Step, Watched, Way};
use super::link::Link;
use super::side::{Ask, Stored};
use super::turns::{self, Turn, Turned};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::sys;
use serde::Serialize;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long readers look, ms.
pub const WATCH_MS: u64 = 10_000;
/// Cases that are prepared at once: what a reader has read must not be old before the store.
const AT_ONCE: usize = 4;
/// How long a name may take to be seen by the other client.
const NAME: Duration = Duration::from_secs(10);
/// Turns of both together, and how long they may take.
const TURNS: u64 = 12;
const TURNING: Duration = Duration::from_secs(12);

/// The two sides.
pub struct Pair {
    pub first: Link,
    pub second: Link,
}

impl Pair {
    pub fn of(&self, client: Client) -> &Link {
        match client {
            Client::First => &self.first,
            Client::Second => &self.second,
        }
    }

    /// Goes to a directory of that name in both, which the first makes. Says why the second can make no file, where it only
    /// reads.
    ///
    /// # Errors
    /// Why they are no two clients of one filesystem.
    pub fn meet(&self, name: &str, token: &str) -> Result<Option<String>, String> {
        self.first
            .ask::<()>(Ask::Make {
                name: name.to_owned(),
            })
            .map_err(|why| format!("No file can be made there: {why}"))?;
        let enter = |client: Client| {
            self.of(client).ask::<()>(Ask::Enter {
                name: name.to_owned(),
            })
        };
        enter(Client::First)?;
        let in_time = |what: &dyn Fn() -> Result<(), String>| {
            let until = Instant::now() + NAME;
            while let Err(why) = what() {
                if Instant::now() > until || sys::interrupted() {
                    return Err(format!(
                        "They do not show the same files: what is made in the one directory is not found in the other \
                         within {} s. They are two filesystems, or this client hands names on later ({why})",
                        NAME.as_secs()
                    ));
                }
                thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        };
        for (from, file) in [(Client::First, "first"), (Client::Second, "second")] {
            let text = format!("{token} {file}");
            let put = self.of(from).ask::<()>(Ask::Put {
                file: file.to_owned(),
                text: text.clone(),
            });
            match put {
                Err(why) if from == Client::Second => return Ok(Some(why)),
                put => put.map_err(|why| format!("No file can be made there: {why}"))?,
            }
            if from == Client::First {
                // A directory without a file is none in object stores.
                in_time(&|| enter(Client::Second))?;
            }
            in_time(&|| {
                let file = file.to_owned();
                let got = self.of(from.other()).ask::<String>(Ask::Get { file })?;
                match got == text {
                    true => Ok(()),
                    false => Err("it holds something else".to_owned()),
                }
            })?;
        }
        Ok(None)
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    #[serde(flatten)]
    pub case: Case,
    pub found: Result<Watched, String>,
    pub msync_ns: Option<u64>,
    /// Up to when the first look may have been, ms since the reader was about to read the old data.
    pub first_look_ms: Option<u64>,
    /// Whether the old data was written in an earlier second than the new: what is seen then may not be seen otherwise.
    pub in_another_second: bool,
}

/// How two writers fared that took turns.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Turns {
    /// Stores of both, and turns in which the other's was not there in time.
    pub stores: u64,
    pub unseen: u64,
    /// Turns that found a store of their own gone which had been synced,
    pub lost: u64,
    /// and of these, those where the other had seen it before it made its own.
    pub lost_though_seen: u64,
    pub error: Option<String>,
}

#[derive(Serialize)]
pub struct Trials {
    pub tried: Vec<Tried>,
    pub turns: Turns,
    /// Why only the first stores.
    pub only_reads: Option<String>,
    /// Where the first client waited for the second (KEEPMYDATA_SEEN_BY).
    pub waiting: Option<Vec<Tried>>,
}

impl Trials {
    pub fn find(&self, wanted: Case) -> Option<&Tried> {
        self.tried.iter().find(|tried| tried.case == wanted)
    }
}

/// Lets so many in at a time.
struct Gate {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Gate {
    fn through<T>(&self, act: impl FnOnce() -> T) -> T {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self
                .freed
                .wait(free)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        drop(free);
        let result = act();
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.freed.notify_one();
        result
    }
}

/// All cases at once, each on a file of its own: most of it is waiting. Only the first stores where the second `only_reads`.
pub fn cases(pair: &Pair, only_reads: bool, progress: &Progress) -> Result<Vec<Tried>, Failure> {
    let gate = Gate {
        free: Mutex::new(AT_ONCE),
        freed: Condvar::new(),
    };
    let mut cases = case::all();
    cases.retain(|case| !(only_reads && case.writer == Client::Second));
    thread::scope(|scope| {
        let started: Vec<_> = cases
            .iter()
            .enumerate()
            .map(|(number, case)| {
                let gate = &gate;
                let sides = (pair.of(case.writer), pair.of(case.reader));
                scope.spawn(move || one(sides, *case, &format!("case-{number}"), gate, LATE_MS))
            })
            .collect();
        let mut tried = Vec::new();
        let mut result = Ok(());
        for looking in started {
            let step = || {
                while !looking.is_finished() && !sys::interrupted() {
                    thread::sleep(Duration::from_millis(10));
                }
                if sys::interrupted() {
                    for link in [&pair.first, &pair.second] {
                        let _ = link.ask::<()>(Ask::Stop);
                    }
                }
                looking.join()
            };
            match progress.step("the other client looks, for up to 10 s", step) {
                Ok(found) => tried.extend(found),
                Err(interrupted) => result = Err(interrupted),
            }
        }
        result.map(|()| tried)
    })
}

/// The first client's store once more, by a side that waits for the second, for each way of reading.
pub fn waiting(writer: &Link, pair: &Pair, progress: &Progress) -> Result<Vec<Tried>, Failure> {
    let gate = Gate {
        free: Mutex::new(AT_ONCE),
        freed: Condvar::new(),
    };
    let cases = case::all().into_iter().filter(|case| {
        (case.writer, case.reader, case.step) == (Client::First, Client::Second, Step::Msync)
            && case.opened != Opened::Later
    });
    let cases: Vec<Case> = cases.filter(|case| case.way != Way::Mapping).collect();
    progress.step("keepmydata waits for the other client", || {
        thread::scope(|scope| {
            let started = cases.iter().enumerate().map(|(number, case)| {
                let (gate, sides) = (&gate, (writer, &pair.second));
                let file = format!("waiting-{number}");
                scope.spawn(move || one(sides, *case, &file, gate, u64::MAX))
            });
            let started: Vec<_> = started.collect();
            started.into_iter().flat_map(|ended| ended.join()).collect()
        })
    })
}

/// How often a case is tried at the most, each time with another file, where the kernel evicts what the reader has cached, or the
/// first look comes late.
const ATTEMPTS: usize = 4;
/// What a client caches for a time may be too old by a look that comes so much later than the store needs, and what it sees then
/// it has not seen at once.
const LATE_MS: u64 = 250;
/// Longer than a client needs that compares times in seconds.
const SECOND: Duration = Duration::from_millis(1100);

/// The attempt that tells most. Without the time for the msync, the first look is late after `late_ms`.
fn one(sides: (&Link, &Link), case: Case, file: &str, gate: &Gate, late_ms: u64) -> Tried {
    let was_evicted = |tried: &Tried| tried.found.as_ref().is_ok_and(|seen| seen.evicted);
    let was_late = |tried: &Tried| {
        let msync_ms = tried.msync_ns.unwrap_or(0) / 1_000_000;
        let first_look_ms = tried.first_look_ms.unwrap_or(0).saturating_sub(msync_ms);
        let is_seen = |seen: &Watched| seen.new_after_ms.is_some();
        tried.found.as_ref().is_ok_and(is_seen) && first_look_ms > late_ms
    };
    // Not seen at once, but within some time.
    let was_in_another_second = |tried: &Tried| {
        let is_seen_late = |seen: &Watched| seen.new_after_ms.is_some_and(|ms| ms > 0);
        case.opened != Opened::Later
            && tried.in_another_second
            && tried.found.as_ref().is_ok_and(is_seen_late)
    };
    let mut tried = once(sides, case, file, gate);
    for attempt in 1..ATTEMPTS {
        let (evicted, late) = (was_evicted(&tried), was_late(&tried));
        let in_another_second = was_in_another_second(&tried);
        if !(evicted || late || in_another_second) || sys::interrupted() {
            break;
        }
        if in_another_second {
            wait_for_a_second();
        }
        let next = once(sides, case, &format!("{file}-{attempt}"), gate);
        let is_earlier = next.first_look_ms < tried.first_look_ms
            || in_another_second && !next.in_another_second;
        if evicted || is_earlier && next.found.is_ok() {
            tried = next;
        }
    }
    tried
}

/// Until the next second of the day begins.
fn wait_for_a_second() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let ns = now.map_or(0, |now| now.subsec_nanos());
    thread::sleep(Duration::from_nanos(1_000_000_000 - u64::from(ns)));
}

/// The second of the day, of some day.
fn second() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

fn once((writer, reader): (&Link, &Link), case: Case, file: &str, gate: &Gate) -> Tried {
    let file = || file.to_owned();
    let mut msync_ns = None;
    let prime = || {
        reader.ask::<case::Sees>(Ask::Prime {
            file: file(),
            way: case.way,
        })
    };
    let prepare = || {
        writer.ask::<()>(Ask::Prepare {
            file: file(),
            byte: case::OLD,
            length: case::LENGTH,
            hold: case.opened != Opened::After,
        })
    };
    let mut in_another_second = false;
    let mut prepared_in = 0;
    let prepared = gate.through(|| {
        prepared_in = second();
        prepare()
    });
    if case.opened == Opened::Later {
        thread::sleep(SECOND);
    }
    // What it caches then may be old enough by the first look, although the writer has just synced.
    let primed = Instant::now();
    let prepared = prepared.and_then(|()| found_in_time(prime));
    let begun = gate.through(|| -> Result<(), String> {
        prepared?;
        // Others were waited for meanwhile.
        found_in_time(prime)?;
        let stored = writer.ask::<Stored>(Ask::Store {
            file: file(),
            step: case.step,
        })?;
        msync_ns = Some(stored.msync_ns);
        in_another_second = second() != prepared_in;
        Ok(())
    });
    let found = begun.and_then(|()| {
        reader.ask::<Watched>(Ask::Watch {
            file: file(),
            limit_ms: WATCH_MS,
        })
    });
    let asked_ms = primed.elapsed().as_millis() as u64;
    let first_look_ms = found
        .as_ref()
        .ok()
        .map(|seen| asked_ms.saturating_sub(seen.looked_ms));
    Tried {
        case,
        found,
        msync_ns,
        first_look_ms,
        in_another_second,
    }
}

/// A name that the other client has made may be late, and its contents: what is primed is old data.
fn found_in_time(prime: impl Fn() -> Result<case::Sees, String>) -> Result<(), String> {
    let until = Instant::now() + NAME;
    loop {
        let why = match prime() {
            Ok(case::Sees::Old) => return Ok(()),
            Ok(_) => "the old data did not come".to_owned(),
            // A file that is there and may not be used so.
            Err(why) if !why.contains("No such file") && !why.contains("failed to fill") => {
                return Err(why);
            }
            Err(why) => why,
        };
        if Instant::now() > until || sys::interrupted() {
            return Err(why);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Two writers that take turns; each waits for the other's store for so long.
pub fn turns(pair: &Pair, patience_ms: u64) -> Turns {
    let mut turns = Turns::default();
    if let Err(why) = turned(pair, patience_ms, &mut turns) {
        turns.error = Some(why);
    }
    turns
}

fn turned(pair: &Pair, patience_ms: u64, turns: &mut Turns) -> Result<(), String> {
    let file = "turns".to_owned();
    pair.first.ask::<()>(Ask::Prepare {
        file: file.clone(),
        byte: 0,
        length: turns::PAGES * 4096,
        hold: false,
    })?;
    let began = Instant::now();
    // What each has stored last, and whether it had seen the other's then.
    let mut values = [0, 0];
    let mut had_seen = [true, true];
    let mut client = Client::First;
    let mut last = false;
    for number in 1.. {
        let ended = last;
        last |= number > TURNS || began.elapsed() > TURNING;
        let (own, others) = (values[client as usize], values[client.other() as usize]);
        let next = (!last).then_some(number);
        let turn = Turn {
            file: file.clone(),
            client,
            own,
            others,
            next,
            patience_ms,
        };
        let ask = || pair.of(client).ask::<Turned>(Ask::Turn(turn.clone()));
        // The name may be late.
        let mut turned = ask();
        let until = Instant::now() + NAME;
        while matches!(&turned, Err(why) if why.contains("No such file") || why.contains("failed to fill"))
            && Instant::now() < until
        {
            thread::sleep(Duration::from_millis(20));
            turned = ask();
        }
        let turned = turned?;
        turns.stores += u64::from(next.is_some());
        turns.unseen += u64::from(!turned.saw_others);
        turns.lost += u64::from(!turned.kept_own);
        turns.lost_though_seen += u64::from(!turned.kept_own && had_seen[client.other() as usize]);
        if let Some(next) = next {
            values[client as usize] = next;
            had_seen[client as usize] = turned.saw_others;
        }
        if ended {
            break;
        }
        client = client.other();
    }
    Ok(())
}
