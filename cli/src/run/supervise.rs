//! Supervision: the program runs under a seccomp filter, and a process beside it answers for msync(2)
//! (`keepmydata_supervisor`, docs/reach.md).
//!
//! That process is nobody's child any more when the program starts, so that the program's own children, exit code and job
//! control stay as they are.

use crate::failure::Failure;
use crate::output;
use crate::sys::{self, Fork};
use keepmydata_records::{Munmap, Prealloc};
use keepmydata_supervisor::{Log, filter, run, settings};
use keepmydata_sys::filter as sandbox;
use keepmydata_sys::seccomp;
use keepmydata_sys::supervised::{self, Word};
use rustix::io::Errno;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Puts this process, and what it becomes and starts, under a supervisor with these settings. Where there is one
/// already, it stays.
///
/// # Errors
/// The kernel has nothing of the kind, or does not allow it: why.
pub fn start(given: &[(&'static str, OsString)], fifo: Option<OwnedFd>) -> Result<(), Failure> {
    if supervised::say(Word::Ask) {
        return Ok(());
    }
    // Else it tells of other processes.
    let own = std::fs::read_link("/proc/self").ok();
    if own.as_deref().and_then(|own| own.to_str()) != Some(&std::process::id().to_string()) {
        return Err(Failure::own(
            "cannot be supervised: /proc does not show the processes of this PID namespace. Mount it (mount -t proc \
             proc /proc), or have unshare do that (unshare --fork --pid --mount-proc)",
        ));
    }
    avoid_fatal_calls()?;
    let mut said = Vec::new();
    let settings = settings(given, &mut |value| said.push(value.to_string()));
    let nothing = [
        (settings.munmap == Munmap::Sync, "munmap=sync"),
        (settings.prealloc == Prealloc::On, "prealloc=on"),
        (settings.reverify_ms.0 > 0, "reverify-ms"),
        (settings.seen_by.other().is_some(), "seen-by"),
        (asks_to_read_fresh(given), "read=fresh"),
    ];
    let nothing = nothing.iter().filter(|(is_set, _)| *is_set);
    said.extend(nothing.map(|(_, name)| {
        format!("warning: {name} has no effect on a supervised program (docs/reach.md)")
    }));
    said.iter().for_each(output::say);
    let log = Log::new(settings);
    let failed = |what: &str, error: std::io::Error| Failure::of(what, &error);
    let (here, there) = UnixStream::pair().map_err(|error| failed("socketpair", error))?;
    let above = |socket| sys::above_standard(socket).map(UnixStream::from);
    let here = above(here).map_err(|error| failed("fcntl", error))?;
    let there = above(there).map_err(|error| failed("fcntl", error))?;
    let fifo = fifo.map(sys::above_standard).transpose();
    let fifo = fifo.map_err(|error| failed("fcntl", error))?;
    let mut log = Some(log);
    let mut serve = || {
        let stderr = log.as_ref().and_then(Log::descriptor);
        let stderr = stderr.map(|stderr| stderr.as_raw_fd());
        let kept = fifo.iter().map(AsRawFd::as_raw_fd).chain(stderr);
        sys::detach(&kept.chain([here.as_raw_fd()]).collect::<Vec<_>>());
        sys::be_a_service();
        if let Some(log) = log.take() {
            be_the_supervisor(&here, log);
        }
        sys::exit_now();
    };
    match sys::fork_silently().map_err(|error| failed("fork", error))? {
        // An orphan would become this process's child: as it is, no wait(2) of the program's shows it.
        Fork::Child if sys::adopts_orphans() => serve(),
        Fork::Child => {
            if let Ok(Fork::Child) = sys::fork_silently() {
                serve();
            }
            sys::exit_now();
        }
        Fork::Parent(_) if sys::adopts_orphans() => {}
        Fork::Parent(child) => sys::wait_for(child),
    }
    drop((here, fifo));
    hand_over(there)
}

/// Finds out at which system calls a sandbox that this process was started in ends it: the supervisor, which is in it, too, makes
/// none of those.
fn avoid_fatal_calls() -> Result<(), Failure> {
    let calls = match sandbox::is_on() {
        true => sandbox::try_calls().unwrap_or_default(),
        false => return Ok(()),
    };
    if let Some(number) = calls.first_to_supervise() {
        return Err(Failure::own(format!(
            "cannot be supervised: a sandbox (seccomp) ends whoever makes system call {number}, which a supervisor needs"
        )));
    }
    seccomp::set(calls);
    Ok(())
}

/// Whether that was asked for: it is the default, too.
fn asks_to_read_fresh(given: &[(&'static str, OsString)]) -> bool {
    let set = |name: &str| {
        let set = given.iter().find(|(known, _)| *known == name);
        set.map(|(_, text)| text.clone())
            .or_else(|| std::env::var_os(name))
    };
    match set("KEEPMYDATA_READ") {
        Some(text) => text == "fresh",
        None => set("KEEPMYDATA_PRESET").is_some_and(|preset| preset == "tests"),
    }
}

/// Installs the filter, and gives the supervisor the listener.
fn hand_over(mut there: UnixStream) -> Result<(), Failure> {
    let lost = |_| Failure::own("the supervisor has ended before the program began");
    let mut pid = [0; 4];
    there.read_exact(&mut pid).map_err(lost)?;
    // Yama lets no other than ancestors look into a process (ptrace(2)).
    sys::let_trace(i32::from_ne_bytes(pid));
    let (listener, killable) = filter::install().map_err(|errno| Failure::own(why_not(errno)))?;
    sys::send_descriptor(&there, &listener, u8::from(killable)).map_err(|errno| {
        Failure::own(format!(
            "the supervisor could not get a seccomp listener: {errno}"
        ))
    })?;
    drop(listener);
    there.read_exact(&mut [0]).map_err(lost)
}

fn why_not(errno: Errno) -> String {
    match errno {
        Errno::BUSY => "cannot be supervised: this process is under another supervisor (a seccomp filter with a \
                        listener), and the kernel allows one"
            .to_owned(),
        Errno::NOSYS | Errno::INVAL => "cannot be supervised: the kernel has no seccomp notifications (Linux 5.0), or a \
                                        sandbox hides them"
            .to_owned(),
        errno => format!("cannot be supervised: seccomp: {errno}"),
    }
}

fn be_the_supervisor(mut here: &UnixStream, log: Log) {
    if here.write_all(&std::process::id().to_ne_bytes()).is_err() {
        return;
    }
    let Ok((listener, killable)) = sys::receive_descriptor(here) else {
        return;
    };
    if here.write_all(&[1]).is_err() {
        return;
    }
    let _ = here.shutdown(std::net::Shutdown::Both);
    // Whoever waits for an answer is told that there is none.
    let fork = || matches!(sys::fork_silently(), Ok(Fork::Child));
    let _ = run(listener, killable != 0, log, fork);
}
