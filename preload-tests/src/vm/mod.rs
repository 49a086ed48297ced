//! Virtual machines: a kernel that really stops, real persistent memory, and a kernel that lacks what
//! the newest have.
//!
//! A [`Machine`] is QEMU under software emulation, which runs one of Debian's own kernels
//! ([`Kernel`]; `scripts/setup` unpacks them) with an initramfs of BusyBox and the modules that are
//! needed (`initramfs`). It sees the host's files, read only, below a layer of memory, so that
//! any program of the host runs in it: the shim, guests, the command, whole tests. A machine of another
//! processor sees a Debian for it, and the sources and what cargo has built in their places. Its disks and
//! its persistent memory are files of the host's, which outlive it.
//!
//! What the machine is to do is a *job*, a shell script. What the job prints reaches the host line by
//! line through a virtio-serial port, and what the host writes there is the job's standard input.
//! [`Running::cut_power`] kills QEMU at once: what the machine's memory held is gone. What a disk was
//! given and not told to flush is not; a [`WriteLog`] tells what of that a real disk may lose, too.

mod initramfs;
mod kernel;
mod log_writes;
mod machine;

pub use kernel::{Kernel, Processor};
pub use log_writes::WriteLog;
pub use machine::{Line, Machine, Running};
