//! The command `keepmydata`: runs a program under the shim, tests filesystems and failing programs, and shows what logs say.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "both panic on a full disk"
)]

mod args;
mod child;
mod demo;
mod diagnose;
mod doctor;
mod failure;
mod generate;
mod junit;
mod ltp;
mod output;
mod progress;
mod report;
mod run;
mod sys;
mod table;
mod trial;
mod typo;
mod words;

use args::Request;
use failure::{Failure, NOT_FOUND};
use std::ffi::{OsString, c_int};

/// Does what the command line asks for and returns the exit code, unless the process has become
/// another program.
pub fn keepmydata(arguments: impl IntoIterator<Item = OsString>) -> c_int {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let result = match args::parse(&arguments) {
        Err(ended) => {
            let code = args::exit_code(&ended);
            if code == 0 {
                output::print(ended.render()).map(|()| code)
            } else {
                let _ = ended.print();
                Ok(code)
            }
        }
        Ok(Request::Run {
            settings,
            reach,
            command,
        }) => run::run(&settings, reach, &command).map_err(|failure| match failure.code {
            NOT_FOUND => args::with_subcommand_meant(failure, &command[0]),
            _ => failure,
        }),
        Ok(Request::Demo(options)) => demo::demo(&options),
        Ok(Request::Generate(options)) => generate::generate(&options, args::visible),
        Ok(Request::Diagnose(options)) => diagnose::diagnose(&options),
        Ok(Request::Doctor(options)) => doctor::doctor(&options),
        Ok(Request::Report(options)) => report::report(&options),
        Ok(Request::Ltp(request)) => ltp::ltp(request),
        Ok(Request::DoctorGuest(task)) => doctor::guest(&task),
        Ok(Request::DoctorClient) => doctor::client(),
    };
    result.unwrap_or_else(|Failure { message, code }| {
        output::say(message);
        code
    })
}
