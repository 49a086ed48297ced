//! The supervisor: makes msync(2) keep its promise in programs that no preloaded library reaches (static ones, Go, musl,
//! raw system calls), from another process, by seccomp notifications (docs/reach.md).
//!
//! `keepmydata PROGRAM` installs the [`filter`] in itself, hands the listener to a process beside it, which becomes
//! [`run`], and executes the program. What judges is `keepmydata_promise`, over the target [`there`].

mod call;
mod claim;
mod drops;
mod ends;
mod enforce;
mod file;
mod files;
pub mod filter;
mod findings;
mod handle;
mod image;
mod keeper;
mod log;
mod mapping;
mod maps;
mod marks;
mod msync;
mod notify;
mod own;
mod probe;
mod report;
mod serve;
mod settle;
mod stats;
mod stop;
mod supervisor;
mod there;

pub use log::{Log, settings};

use rustix::fd::OwnedFd;
use rustix::io::Errno;

/// Serves `listener` until nobody is left behind it. The calling process has one thread and no descriptors but its own;
/// `killable` is what [`filter::install`] has said, and `fork` is fork(2), and says in the child that it is that.
///
/// Errors: those of epoll(7).
pub fn run(
    listener: OwnedFd,
    killable: bool,
    log: Log,
    fork: impl FnOnce() -> bool,
) -> Result<(), Errno> {
    keepmydata_sys::boot();
    let listener = notify::Listener::new(listener);
    let pending = keeper::Pending::new();
    if let (Some(pending), Ok(this)) = (pending, image::pidfd(keepmydata_sys::getpid()))
        && fork()
    {
        keeper::keep(&listener, &this, pending);
        return Ok(());
    }
    let supervisor = supervisor::Supervisor::new(listener, killable, log, pending)?;
    serve::Service::new(supervisor).run()
}
