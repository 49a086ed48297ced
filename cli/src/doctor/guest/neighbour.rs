//! Two processes on one file: one stores and syncs, the other had it open and mapped before, and looks once msync has
//! returned.

use super::{NAME, Setup, SetupFailed, Task};
use crate::sys::Mapping;
use serde::{Deserialize, Serialize};
use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const LENGTH: usize = 4096;

#[derive(Clone, Serialize, Deserialize)]
pub struct NeighbourTask {
    /// A new file.
    pub file: PathBuf,
}

/// Whether the other process sees what was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourFound {
    pub msync_ok: bool,
    /// Through a descriptor that was open before.
    pub held: bool,
    /// Through a mapping that was made before.
    pub mapped: bool,
}

pub fn run(task: &NeighbourTask) -> Result<NeighbourFound, SetupFailed> {
    let writer = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&task.file)
        .setup("open")?;
    writer.write_all_at(&[b'o'; LENGTH], 0).setup("pwrite")?;
    writer.sync_all().setup("fsync")?;
    let beside = serde_json::to_string(&Task::Beside(task.clone()))
        .map_err(io::Error::from)
        .setup("a task")?;
    let mut other = Command::new(env::current_exe().setup("/proc/self/exe")?)
        .args([NAME, &beside])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .setup("another process")?;
    let stdout = other
        .stdout
        .take()
        .ok_or(io::Error::from(io::ErrorKind::BrokenPipe));
    let mut answers = BufReader::new(stdout.setup("a pipe")?).lines();
    let mut answer = || {
        answers
            .next()
            .unwrap_or(Ok(String::new()))
            .setup("another process")
    };
    // It has read the old data.
    answer()?;
    let mapping = Mapping::new(&writer, LENGTH).setup("mmap MAP_SHARED")?;
    mapping.store(0, &[b'n'; LENGTH]);
    let msync_ok = mapping.sync().is_ok();
    // The end of its input tells it to look.
    drop(other.stdin.take());
    let seen = answer()?;
    let _ = other.wait();
    let sees = |word: &str| seen.split(' ').any(|seen| seen == word);
    Ok(NeighbourFound {
        msync_ok,
        held: sees("held"),
        mapped: sees("mapped"),
    })
}

/// The other process: says a word when it has read the old data, and then which ways show the new.
pub fn beside(task: &NeighbourTask) -> Result<(), SetupFailed> {
    let held = File::open(&task.file).setup("open")?;
    let mut bytes = [0; LENGTH];
    held.read_exact_at(&mut bytes, 0).setup("pread")?;
    let mapping = Mapping::readable(&held, LENGTH);
    if let Ok(mapping) = &mapping {
        mapping.load(0, &mut bytes);
    }
    let say = |word: &str| {
        let mut stdout = io::stdout();
        let _ = writeln!(stdout, "{word}").and_then(|()| stdout.flush());
    };
    say("ready");
    io::stdin()
        .read_to_end(&mut Vec::new())
        .setup("standard input")?;
    let mut seen = String::new();
    held.read_exact_at(&mut bytes, 0).setup("pread")?;
    if bytes == [b'n'; LENGTH] {
        seen += "held ";
    }
    match &mapping {
        Ok(mapping) => mapping.load(0, &mut bytes),
        // A file that cannot be mapped so shows nothing old.
        Err(_) => bytes = [b'n'; LENGTH],
    }
    if bytes == [b'n'; LENGTH] {
        seen += "mapped ";
    }
    say(seen.trim());
    Ok(())
}
