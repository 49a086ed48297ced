//! Finds out whether the shim was really loaded, without being the program's parent.
//!
//! The loader ignores `LD_PRELOAD` silently in some programs, and only prints an error if it cannot load a library. So the
//! shim's constructor says hello: before `main` it sends `keepmydata VERSION` and a newline to the socket whose number is in
//! [`VARIABLE`], closes it and removes the variable. A small process, which is no child of the program's, holds the other
//! end.
//!
//! If the log is a FIFO it also holds that open until the program has ended, because its reader would otherwise see an end
//! before the program's first record.

use crate::failure::Failure;
use crate::output;
use crate::sys::{self, Fork};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The variable that tells the shim where to say hello.
pub const VARIABLE: &str = "KEEPMYDATA_HANDSHAKE";

/// Longer than any loader takes, also under a debugger or on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program's end of the socket; it is inherited across execve(2).
pub struct Watch {
    socket: UnixStream,
}

impl Watch {
    pub fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The program was not started, and its reason is said elsewhere.
    pub fn dismiss(mut self) {
        // Whatever is said keeps the watcher quiet; where it is gone, nobody listens.
        let _ = self.socket.write_all(b"not started\n");
    }
}

/// Starts the watcher; `None` where there is nobody to take it over when its parent has become
/// the program, and the program would get it as a child.
pub fn start(program: &OsStr, fifo: Option<OwnedFd>) -> Result<Option<Watch>, Failure> {
    if sys::adopts_orphans() {
        return Ok(None);
    }
    let failed = |what: &str, error: std::io::Error| Failure::of(what, &error);
    let (here, there) = UnixStream::pair().map_err(|error| failed("socketpair", error))?;
    let above = |socket| sys::above_standard(socket).map(UnixStream::from);
    let here = above(here).map_err(|error| failed("fcntl", error))?;
    let there = above(there).map_err(|error| failed("fcntl", error))?;
    sys::inherit(&there).map_err(|error| failed("fcntl", error))?;
    let fifo = fifo.map(sys::above_standard).transpose();
    let fifo = fifo.map_err(|error| failed("fcntl", error))?;
    let process = getpid();
    match sys::fork_silently().map_err(|error| failed("fork", error))? {
        Fork::Parent(child) => sys::wait_for(child),
        Fork::Child => {
            if let Ok(Fork::Child) = sys::fork_silently() {
                drop(there);
                let kept = fifo.iter().map(AsRawFd::as_raw_fd);
                sys::detach(&kept.chain([here.as_raw_fd()]).collect::<Vec<_>>());
                let process = fifo
                    .as_ref()
                    .and_then(|_| pidfd_open(process, PidfdFlags::empty()).ok());
                listen(program, here);
                if let Some(process) = process {
                    wait_for_end(&process);
                }
            }
            sys::exit_now();
        }
    }
    Ok(Some(Watch { socket: there }))
}

fn listen(program: &OsStr, mut here: UnixStream) {
    let mut hello = [0; 64];
    let received = here
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| here.read(&mut hello));
    if matches!(received, Ok(length) if length > 0) {
        return;
    }
    let when = match received {
        Ok(_) => "it ended without saying so".to_owned(),
        Err(_) => format!("no sign of it in {} s", PATIENCE.as_secs()),
    };
    output::say(format_args!(
        "warning: the shim was not loaded into {}: {when}; its msync is not enforced",
        program.display()
    ));
    sys::close_standard_error();
    // While this end is open, a late hello cannot raise SIGPIPE in the program.
    let _ = here
        .set_read_timeout(None)
        .and_then(|()| here.read(&mut hello));
}

/// Keeps what is open open until the process has ended.
fn wait_for_end(process: &OwnedFd) {
    sys::close_standard_error();
    let mut ended = [PollFd::new(process, PollFlags::IN)];
    while poll(&mut ended, None) == Err(rustix::io::Errno::INTR) {}
}
