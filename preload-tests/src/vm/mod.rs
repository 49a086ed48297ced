//! Virtual machines: power cuts, persistent memory, older kernels and other processors.
//!
//! A [`Machine`] is QEMU under software emulation, with one of Debian's kernels ([`Kernel`]; `scripts/setup` unpacks them)
//! and an initramfs of BusyBox and modules (`initramfs`). It sees the host's files, read only, below a layer of memory, so
//! that any program of the host runs in it. A machine of another processor sees a Debian for that, and the sources and
//! cargo's output in their places. Its disks and persistent memory are files of the host's, which outlive it.
//!
//! The machine runs a *job*, a shell script. The job's output reaches the host line by line through a virtio-serial port, and
//! what the host writes there is the job's standard input. [`Running::cut_power`] kills QEMU: what the machine's memory held
//! is gone. What a disk was given and not told to flush is not; a [`WriteLog`] tells what of that a real disk may lose.

mod initramfs;
mod kernel;
mod log_writes;
mod machine;

pub use kernel::{Kernel, Processor};
pub use log_writes::WriteLog;
pub use machine::{Line, Machine, Running};
