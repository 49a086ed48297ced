//! `keepmydata doctor DIR`: what the kernel and a filesystem offer, and what follows from it.

mod conclusion;
mod filesystem;
mod kernel;
mod probe;
mod report;

pub use filesystem::Filesystem;

use crate::args::DoctorOptions;
use crate::failure::Failure;
use crate::run::reason;
use crate::sys;
use keepmydata_records::Backing;
use std::ffi::c_int;

pub fn doctor(options: &DoctorOptions) -> Result<c_int, Failure> {
    let shown = options.directory.display();
    let failed = |why: std::io::Error| Failure::own(format!("{shown}: {}", reason(&why)));
    let directory = options.directory.canonicalize().map_err(failed)?;
    if !directory.is_dir() {
        return Err(Failure::own(format!("{shown}: Not a directory")));
    }
    sys::note_interruptions();
    let kernel = kernel::Kernel::look();
    let filesystem = Filesystem::look(&directory).map_err(failed)?;
    let probe = match probe::probe(&directory) {
        Ok(probe) => Some(probe),
        // Nothing follows from what files do there.
        Err(_) if filesystem.backing == Backing::Nothing => None,
        Err(error) => {
            let why = reason(&error);
            return Err(Failure::own(format!(
                "{shown}: the probe needs a file there: {why}"
            )));
        }
    };
    if sys::interrupted() {
        return Err(Failure::new(130, "interrupted"));
    }
    let conclusion = conclusion::conclude(&filesystem, probe.as_ref());
    let mut facts = filesystem.rows();
    if let Some(probe) = &probe {
        facts.extend(probe.rows(filesystem.is_fuse()));
    }
    let sections = [
        ("kernel", kernel.rows()),
        ("filesystem", facts),
        ("follows", conclusion.rows()),
    ];
    if options.json {
        println!("{}", report::json(&directory, &sections, &conclusion));
    } else {
        print!("{}", report::text(&directory, &sections, &conclusion));
    }
    Ok(conclusion.code())
}
