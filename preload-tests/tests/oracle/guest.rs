//! The guest that runs programs, one after the other, in one process.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use preload_tests::harness::{self, Conversation, Flags, patience};

use super::events::Events;
use super::program::Program;

/// Longer than any program takes whose syncs all wait for their deadline.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the guest did not come to an end.
#[derive(Clone, Debug)]
pub enum End {
    Hang,
    Crash(String),
}

/// How the guest is run, with which settings.
#[derive(Clone, Copy, Debug)]
pub enum How<'a> {
    Natively,
    UnderShim(&'a [(&'a str, &'a str)]),
    Supervised(&'a [(&'a str, &'a str)]),
}

pub struct Guest {
    conversation: Conversation,
    lines: Receiver<String>,
    said: u64,
    ran: u64,
}

impl Guest {
    /// `inside` is what `directory` is called where the socket answers; with `direct`, write(2) goes past the page cache.
    pub fn start(
        directory: &Path,
        (socket, inside): (&Path, &str),
        direct: bool,
        how: How<'_>,
    ) -> Self {
        let flags = match how {
            How::Supervised(_) => Flags::Static,
            _ => Flags::Hardened,
        };
        let program = harness::Program::guest_with("oracle", flags)
            .arg(directory)
            .arg(socket)
            .arg(inside)
            .arg(u8::from(direct).to_string());
        let mut conversation = match how {
            How::Natively => program.converse(false, &[]),
            How::UnderShim(settings) => program.converse(true, settings),
            How::Supervised(settings) => program
                .by_command(harness::command(), [""; 0])
                .converse(false, settings),
        };
        let stdout = conversation.take_stdout().expect("not taken yet");
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            conversation,
            lines,
            said: 0,
            ran: 0,
        }
    }

    /// How many programs it ran.
    pub fn ran(&self) -> u64 {
        self.ran
    }

    /// Runs a program on a new file of that name. `mode` is what the test bed is switched to once the file is made.
    /// The second value is how much standard error had got before.
    ///
    /// # Errors
    /// If the guest is gone: it must be started again.
    pub fn run(
        &mut self,
        name: &str,
        mode: Option<&str>,
        program: &Program,
    ) -> Result<(Events, u64), End> {
        self.ran += 1;
        let before = self.said;
        let line = format!("{name} {} {program}\n", mode.unwrap_or("-"));
        if self
            .conversation
            .stdin()
            .write_all(line.as_bytes())
            .is_err()
        {
            return Err(End::Crash(self.conversation.stderr()));
        }
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(patience(PATIENCE)) {
                Ok(line) => {
                    let done = line.starts_with("done ");
                    lines.push(line);
                    if done {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(End::Hang),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(End::Crash(self.conversation.stderr()));
                }
            }
        }
        let events = Events::parse(&lines);
        self.said = events.said;
        Ok((events, before))
    }

    /// A part of standard error.
    pub fn stderr(&self, from: u64, to: u64) -> String {
        let text = self.conversation.stderr();
        let bytes = text.as_bytes();
        let to = bytes.len().min(to as usize);
        String::from_utf8_lossy(&bytes[to.min(from as usize)..to]).into_owned()
    }
}
