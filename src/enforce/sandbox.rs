//! Sandboxes whose filter (seccomp(2)) ends the program at a system call of the shim's, or has a handler of the program's
//! answer it. What the shim can do without is not called from then on ([`seccomp`]); where that is not enough, it leaves the
//! program alone for good, and says so.

use super::doubt;
use crate::helper::{self, Worker};
use crate::mappings::{self, Gates};
use crate::process;
use crate::sys::filter::{self, Filter};
use crate::sys::seccomp::{self, Calls};
use crate::{findings, log, next_fn, reads, stats, sys};
use core::sync::atomic::{AtomicBool, Ordering};
use keepmydata_records::{Level, LineBuf, event};

/// What was before a filter, which the kernel may refuse.
pub struct Before {
    calls: Calls,
    gates: Option<Gates>,
}

/// The program is about to install the filter that the `struct sock_fprog` at an address describes. Any context.
#[cold]
pub fn entering(program: usize) -> Option<Before> {
    if !process::is_open() || process::this().is_borrowed() {
        return None;
    }
    let state = next_fn::enter();
    let before = Filter::read(program).and_then(|mut filter| avoid(filter.fatal_calls()));
    next_fn::leave(state);
    before
}

impl Before {
    /// The kernel has refused the filter.
    #[cold]
    pub fn restore(self) {
        seccomp::set(self.calls);
        if let Some(gates) = self.gates {
            mappings::open(gates);
            process::open();
        }
    }
}

/// Whether the program was started under a filter, about which nothing is known yet.
static INHERITED: AtomicBool = AtomicBool::new(false);

/// It was; called once, while booting. Finds out about it `now`, or when a file is mapped. Says whether the shim may go on.
pub fn inherits(now: bool) -> bool {
    if !now {
        INHERITED.store(true, Ordering::Relaxed);
        return true;
    }
    let calls = inherited().unwrap_or_default();
    seccomp::set(calls);
    calls.first_essential().is_none()
}

/// Before the first call that natively is not made. Says whether the shim may go on. Any context.
#[inline]
pub fn allows() -> bool {
    !INHERITED.load(Ordering::Relaxed) || find_out()
}

#[cold]
#[inline(never)]
fn find_out() -> bool {
    // Another thread, or who shares the memory, may find out, too, and finds the same.
    if let Some(calls) = inherited() {
        let _ = avoid(calls);
    }
    INHERITED.store(false, Ordering::Relaxed);
    process::is_open()
}

/// What the filters of the calling thread are fatal at; nothing where that cannot be found out.
fn inherited() -> Option<Calls> {
    // Else a child would be the first process of a namespace.
    let can_try = !sys::thread::has_own_pid_namespace_for_children();
    can_try.then(filter::try_calls).flatten()
}

/// Makes none of those calls any more.
fn avoid(calls: Calls) -> Option<Before> {
    if calls.is_empty() {
        return None;
    }
    let before = seccomp::now();
    let gates = match calls.first_essential() {
        Some(number) => Some(stand_down(number)),
        None => {
            seccomp::set(before.with(calls));
            None
        }
    };
    Some(Before {
        calls: before,
        gates,
    })
}

/// For the shim the program ends here.
fn stand_down(number: i64) -> Gates {
    let is_any = mappings::any();
    if is_any {
        if stats::on() {
            findings::at_end(findings::Boundary::Exit);
        }
        doubt::at_end();
        if mappings::any_of(0, usize::MAX, |entry| entry.writable) {
            say(number);
        }
    }
    process::close();
    reads::unwatch();
    let gates = mappings::shut();
    wait_for_others();
    // While booting, under a filter that the program was started with, not even signals may be blocked.
    if is_any {
        helper::leave_program_alone(process::this());
    }
    gates
}

/// Until no other thread is in a hook: what it does there would end the program, where the filter is for all threads
/// (`SECCOMP_FILTER_FLAG_TSYNC`). A second or two at the most: natively nobody waits.
fn wait_for_others() {
    const PATIENCE_NS: u64 = 2_000_000_000;
    // A thread may have found its way open, and not be counted yet.
    const GRACE_NS: u64 = 2_000_000;
    if sys::thread::is_single() {
        return;
    }
    let until = sys::monotonic_ns() + PATIENCE_NS;
    let mut quiet = 0;
    while quiet < 3 && sys::monotonic_ns() < until {
        sys::sleep(GRACE_NS);
        quiet = if next_fn::inside() > 1 { 0 } else { quiet + 1 };
    }
}

fn say(number: i64) {
    let process = process::this();
    let mut message = LineBuf::<256>::new();
    log::text(
        &mut message,
        format_args!(
            "the program enters a sandbox that ends it, or calls a handler, at system call {number}, which keepmydata \
             needs: from here on msync of this process is left as it is"
        ),
    );
    let mut record = log::record(process, Level::Warn, sys::gettid(), event::DOUBT);
    record.message = message.as_str().into();
    if helper::run(process, |worker| log::notice(worker, &record)).is_err() {
        log::notice(&Worker::without_descriptors(process), &record);
    }
}
