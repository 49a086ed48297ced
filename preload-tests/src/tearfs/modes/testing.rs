//! A file in some mode, for the modes' own tests: a page is written and shown as one letter,
//! a hole as a dot.

use std::time::{Duration, Instant};

use fuser::Errno;

use super::super::backend::{Backend, View};
use super::super::select::Selector;
use super::{Context, Effect, FileMode, Mode, Parameters, Write};
use crate::page_size;

pub struct Bench {
    file: Backend,
    mode: Box<dyn FileMode>,
    selector: Selector,
    now: Instant,
    pub parameters: Parameters,
}

impl Bench {
    pub fn new(mode: Mode) -> Self {
        Self {
            file: Backend::default(),
            mode: mode.of_file(),
            selector: Selector::new(1, None, None, 0),
            now: Instant::now(),
            parameters: Parameters {
                delay: Duration::from_millis(200),
                window: 128 * 1024,
                pages_per_fsync: 1,
                selective: false,
            },
        }
    }

    pub fn selecting(mut self, every: u64, first: Option<u64>) -> Self {
        self.selector = Selector::new(every, first, None, 0);
        self.parameters.selective = true;
        self
    }

    fn split(&mut self) -> (&mut Backend, &mut dyn FileMode, Context<'_>) {
        let context = Context {
            now: self.now,
            parameters: &self.parameters,
            selector: &self.selector,
        };
        (&mut self.file, &mut *self.mode, context)
    }

    pub fn page_write(&mut self, page: usize, letters: &str) -> Effect {
        let (file, mode, cx) = self.split();
        mode.page_write(file, at(page, &fill(letters)), &cx)
    }

    pub fn other_write(&mut self, page: usize, letters: &str) {
        let (file, mode, _) = self.split();
        mode.other_write(file, at(page, &fill(letters)));
    }

    /// An FSYNC that succeeds.
    pub fn fsync(&mut self) -> Effect {
        let (result, effect) = self.fsync_result();
        assert_eq!(result, Ok(()));
        effect
    }

    pub fn fsync_result(&mut self) -> (Result<(), Errno>, Effect) {
        let (file, mode, cx) = self.split();
        mode.fsync(file, &cx)
    }

    pub fn flush(&mut self) -> Result<(), Errno> {
        self.mode.flush().0
    }

    pub fn read(&mut self) -> String {
        let mut buffer = vec![0; self.file.size() as usize + page_size()];
        let (file, mode, cx) = self.split();
        let (len, _) = mode.read(file, 0, &mut buffer, &cx);
        letters(&buffer[..len])
    }

    /// What a READ would be answered with.
    pub fn served(&mut self) -> String {
        let mut buffer = vec![0; self.file.size() as usize];
        self.mode.served(&self.file, 0, &mut buffer, self.now);
        letters(&buffer)
    }

    /// Forgets what the mode remembers of the whole file, as a truncation would.
    pub fn discard(&mut self) {
        self.mode.discard(0..self.file.size());
    }

    pub fn cut(&mut self) {
        self.file.cut();
    }

    /// Lets more than the delay go by.
    pub fn pass_delay(&mut self) {
        self.now += self.parameters.delay + Duration::from_millis(1);
        self.file.apply_due(self.now);
    }

    /// What is visible, final and stable.
    pub fn shown(&self) -> [String; 3] {
        [View::Visible, View::Final, View::Stable].map(|view| {
            let mut buffer = vec![0; self.file.size() as usize];
            self.file.read(view, 0, &mut buffer);
            letters(&buffer)
        })
    }
}

fn fill(letters: &str) -> Vec<u8> {
    letters
        .bytes()
        .flat_map(|letter| vec![letter; page_size()])
        .collect()
}

fn letters(bytes: &[u8]) -> String {
    bytes
        .chunks(page_size())
        .map(|page| {
            assert!(
                page.iter().all(|byte| *byte == page[0]),
                "a page of one letter"
            );
            if page[0] == 0 { '.' } else { page[0] as char }
        })
        .collect()
}

fn at(page: usize, data: &[u8]) -> Write<'_> {
    Write {
        offset: (page * page_size()) as u64,
        data,
    }
}
