//! Variables that are named almost like a setting.

use crate::output::say;
use keepmydata_records::variable_meant;
use std::env;
use std::os::unix::ffi::OsStrExt;

/// Warns of them and takes them out of the environment, as the shim does where it is loaded without the command: so it
/// is said once.
pub fn warn_of_variables() {
    for (name, _) in env::vars_os() {
        if let Some(meant) = variable_meant(name.as_bytes()) {
            let shown = name.display();
            say(format_args!(
                "warning: {shown}: no such setting; did you mean {meant}?"
            ));
            crate::sys::remove_variable(&name);
        }
    }
}
