//! Step 3: fdatasync of the file, begun after everything was handed over.

use crate::event::{Event, Observer};
use crate::pooled::{Home, Pooled};
use crate::stages::{Flushed, Request, Snapshot};
use crate::target::Target;
use rustix::io::Errno;

/// The flush, after the program's own call has returned `real`; an error of that call is one of the flush, unless it
/// says that a part of the range is not mapped.
pub fn flush<R: Request, H: Home>(
    target: &impl Target,
    observer: &impl Observer<R>,
    snapshot: Pooled<Snapshot<R>, H>,
    real: Result<(), Errno>,
) -> Pooled<Flushed<R>, H> {
    let (result, ns) = fdatasync(target, observer, &snapshot);
    let before = real.err().filter(|&errno| errno != Errno::NOMEM);
    let failed = snapshot.failed.or(before).or(result.err());
    let is_new_error = snapshot.failed.is_some() || result.is_err();
    let mut flushed = flushed(snapshot, failed, ns, real);
    flushed.is_new_error = is_new_error;
    flushed
}

/// The flush in place of the program's own call, which must still be made where this fails: the snapshot is for
/// [`flush`] then.
pub fn flush_alone<R: Request, H: Home>(
    target: &impl Target,
    observer: &impl Observer<R>,
    mut snapshot: Pooled<Snapshot<R>, H>,
) -> Result<Pooled<Flushed<R>, H>, Pooled<Snapshot<R>, H>> {
    match fdatasync(target, observer, &snapshot) {
        (Ok(()), ns) => Ok(flushed(snapshot, None, ns, Ok(()))),
        (Err(errno), _) => {
            snapshot.failed = Some(errno);
            Err(snapshot)
        }
    }
}

fn flushed<R: Request, H: Home>(
    snapshot: Pooled<Snapshot<R>, H>,
    failed: Option<Errno>,
    ns: u64,
    real: Result<(), Errno>,
) -> Pooled<Flushed<R>, H> {
    let mut flushed = snapshot.then::<Flushed<R>>();
    flushed.flush_failed = failed;
    flushed.flush_ns = ns;
    flushed.real = real;
    flushed
}

fn fdatasync<R: Request>(
    target: &impl Target,
    observer: &impl Observer<R>,
    snapshot: &Snapshot<R>,
) -> (Result<(), Errno>, u64) {
    let (began, from) = (observer.begin(), target.now());
    let result = target.fdatasync();
    let ns = target.now() - from;
    observer.tell(snapshot, began, Event::Flushed(result));
    (result, ns)
}

/// fsync(2) of the file: on FUSE another request than fdatasync's.
pub(crate) fn fsync<R: Request>(
    target: &impl Target,
    observer: &impl Observer<R>,
    snapshot: &Snapshot<R>,
) -> Result<(), Errno> {
    let began = observer.begin();
    let result = target.fsync();
    observer.tell(snapshot, began, Event::Synced(result));
    result
}
