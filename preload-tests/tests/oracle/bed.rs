//! A filesystem, mounted for many programs.

use preload_tests::harness::TearFs;

use super::guest::{End, Guest, How};
use super::local::Local;
use super::model::{Judgement, Kind, Traits, judge};
use super::program::Program;
use super::rows::{Bed, Row};

/// Programs of one process: what one leaves behind must not help or harm another for ever.
const PROGRAMS: u64 = 50;

enum Fs {
    Tear(TearFs),
    Local(Local),
}

/// A row's filesystem and guest.
pub struct Mounted<'a> {
    row: &'a Row,
    native: bool,
    fs: Fs,
    guest: Option<Guest>,
    /// The guest has had a second thread.
    had_threads: bool,
    files: u64,
}

impl<'a> Mounted<'a> {
    /// # Errors
    /// Why this machine has no such filesystem.
    pub fn new(row: &'a Row, native: bool) -> Result<Self, String> {
        let fs = match &row.bed {
            Bed::Tear(mode, arguments) => {
                let arguments: Vec<&str> =
                    ["--mode", mode].iter().chain(arguments).copied().collect();
                Fs::Tear(TearFs::mount_unlogged(&arguments))
            }
            Bed::Local(kind, overlay, room) => Fs::Local(Local::mount(kind, *overlay, *room)?),
        };
        Ok(Self {
            row,
            native,
            fs,
            guest: None,
            had_threads: false,
            files: 0,
        })
    }

    fn start(&self) -> Guest {
        let settings = &*self.row.settings;
        let how = match (self.native, self.row.supervised) {
            (true, _) => How::Natively,
            (false, false) => How::UnderShim(settings),
            (false, true) => How::Supervised(settings),
        };
        let direct =
            matches!(&self.row.bed, Bed::Tear(_, arguments) if arguments.contains(&"--direct-io"));
        let (directory, socket) = match &self.fs {
            Fs::Tear(fs) => (fs.dir(), fs.control_socket()),
            Fs::Local(fs) => (fs.dir.clone(), fs.control_socket()),
        };
        Guest::start(&directory, (&socket, ""), direct, how)
    }

    /// Whether the process that ran the last program has had a second thread.
    pub fn had_threads(&self) -> bool {
        self.had_threads
    }

    /// The next program gets a process of its own.
    pub fn restart(&mut self) {
        self.guest = None;
    }

    /// Runs a program on a new file.
    pub fn run(&mut self, program: &Program) -> Judgement {
        if self
            .guest
            .as_ref()
            .is_some_and(|guest| guest.ran() >= PROGRAMS)
        {
            self.guest = None;
        }
        self.had_threads &= self.guest.is_some();
        self.had_threads |= program.is_threaded();
        let mut guest = self.guest.take().unwrap_or_else(|| self.start());
        self.files += 1;
        let mode = match &self.row.bed {
            Bed::Tear(mode, _) => mode,
            Bed::Local(..) => "failing",
        };
        let name = format!("f{}", self.files);
        match guest.run(&name, Some(mode), program) {
            Ok((events, before)) => {
                let stderr = |from, to| guest.stderr(from, to);
                let traits = Traits {
                    native: self.native,
                    ..self.row.traits
                };
                let judgement = judge(program, &events, traits, &stderr, before);
                self.guest = Some(guest);
                judgement
            }
            Err(end) => {
                let wrong = match end {
                    End::Hang => (Kind::Hang, "the program does not end".to_owned()),
                    End::Crash(stderr) => (Kind::Crash, format!("the program died: {stderr}")),
                };
                Judgement {
                    wrong: vec![wrong],
                    ..Judgement::default()
                }
            }
        }
    }
}
