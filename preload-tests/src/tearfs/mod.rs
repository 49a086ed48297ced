//! The test bed: a FUSE filesystem in memory that acknowledges what it has not done.
//!
//! From the kernel inwards: [`mount`] (how it begins and ends), [`fs`] (the requests),
//! [`names`], [`inode`], [`mod@file`] (one file's contents and its mode),
//! [`modes`] (what is done wrong), [`backend`] (what is acknowledged, applied, stable).
//! With two mounts [`cluster`] (what each sees, and is told to drop) and [`locks`] (what they share).
//! Beside them: [`control`] (what tests ask), [`oplog`] (what people read), [`options`].
#![forbid(unsafe_code)]

pub mod backend;
pub mod cluster;
pub mod control;
pub mod daemon;
pub mod file;
pub mod fs;
pub mod inode;
mod keeper;
pub mod locks;
pub mod modes;
pub mod mount;
pub mod names;
pub mod oplog;
pub mod options;
pub mod pages;
pub mod select;
pub mod timers;
