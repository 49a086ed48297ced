//! Two clients of one filesystem: what each sees of the other's writes, and when it drops its cache.
//!
//! The daemon mounts twice over one backend (`--second`). To the kernel these are two filesystems, each with inodes and a
//! page cache of its own, as on two machines.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Instant;

use clap::ValueEnum;
use fuser::{INodeNo, Notifier};

use super::backend::{Backend, Durability, View};
use super::modes::Write;
use super::pages::{Page, PageMap, page_of, pages_of, pieces};
use crate::page_size;

/// Pages of a block that a client of stale-writeback writes back as a whole.
const BLOCK: u64 = 16;

/// One of the two mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    First,
    Second,
}

impl Client {
    pub const ALL: [Client; 2] = [Client::First, Client::Second];

    pub fn other(self) -> Self {
        match self {
            Client::First => Client::Second,
            Client::Second => Client::First,
        }
    }

    pub fn index(self) -> usize {
        self as usize
    }
}

/// What a client sees of what the other wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Coherence {
    /// At once: before FSYNC is answered, the other client has dropped its pages.
    Coherent,
    /// A client caches attributes for --coherence-ms, and drops its pages when it learns of a new mtime.
    AttributeCache,
    /// A client drops a file's pages when it opens it.
    CloseToOpen,
    /// A client drops a file's pages when it gets a record lock of it.
    OnLock,
    /// A client drops a file's pages when it opens it, if what the other wrote is --coherence-ms old by then.
    LateOpen,
    /// A client drops a file's pages when the other opens it to write, and not when that writes.
    OnOpen,
    /// As on-open; and a client that has written since then drops its pages when the other opens the file at all, as with
    /// CephFS.
    Recall,
    /// A client keeps its pages, whatever the other does.
    NoInvalidation,
    /// READs of the other client are answered with what was there before, until --coherence-ms after the write.
    Propagation,
    /// As coherent, but a client writes back whole blocks of 64 KiB, as it read them first.
    StaleWriteback,
}

impl Coherence {
    /// The word that names it in options and documents.
    pub fn word(self) -> &'static str {
        match self {
            Coherence::Coherent => "coherent",
            Coherence::AttributeCache => "attribute-cache",
            Coherence::CloseToOpen => "close-to-open",
            Coherence::OnLock => "on-lock",
            Coherence::LateOpen => "late-open",
            Coherence::OnOpen => "on-open",
            Coherence::Recall => "recall",
            Coherence::NoInvalidation => "no-invalidation",
            Coherence::Propagation => "propagation",
            Coherence::StaleWriteback => "stale-writeback",
        }
    }
}

/// A page as the other client is still shown it.
struct Late {
    /// Nothing is a hole.
    image: Option<Arc<Page>>,
    until: Instant,
}

/// What the clients are shown of one file otherwise than it is.
#[derive(Default)]
pub struct Views {
    late: [BTreeMap<u64, Late>; 2],
    /// Blocks as a client first read them, with what it has written since.
    blocks: [Blocks; 2],
}

#[derive(Default)]
struct Blocks {
    known: BTreeSet<u64>,
    pages: PageMap,
}

impl Blocks {
    /// Remembers the blocks of these pages, if they are not known.
    fn learn(&mut self, file: &Backend, pages: Range<u64>) {
        for block in pages.start / BLOCK..pages.end.div_ceil(BLOCK) {
            if self.known.insert(block) {
                for page in pages_of_block(block) {
                    if let Some(image) = file.page(View::Visible, page) {
                        self.pages.insert(page, Arc::clone(image));
                    }
                }
            }
        }
    }
}

fn pages_of_block(block: u64) -> Range<u64> {
    block * BLOCK..(block + 1) * BLOCK
}

impl Views {
    /// The client is about to write; the other is to see it at `until` only.
    pub fn delay(&mut self, file: &Backend, client: Client, write: Write<'_>, until: Instant) {
        let late = &mut self.late[client.other().index()];
        for page in pages_of(write.offset, write.data.len()) {
            let shown = late.entry(page).or_insert_with(|| Late {
                image: file.page(View::Visible, page).cloned(),
                until,
            });
            shown.until = until;
        }
    }

    /// Puts into what the client reads what it is still shown.
    pub fn show(&mut self, client: Client, offset: u64, buffer: &mut [u8], now: Instant) {
        let late = &mut self.late[client.index()];
        late.retain(|_, shown| shown.until > now);
        for piece in pieces(offset, buffer.len()) {
            let Some(shown) = late.get(&piece.page) else {
                continue;
            };
            let into = &mut buffer[piece.bytes];
            match &shown.image {
                Some(image) => into.copy_from_slice(&image[piece.start..][..into.len()]),
                None => into.fill(0),
            }
        }
    }

    /// The client reads these bytes, or is about to write them.
    pub fn learn(&mut self, file: &Backend, client: Client, offset: u64, len: usize) {
        self.blocks[client.index()].learn(file, pages_of(offset, len));
    }

    /// The client has written: it writes the rest of the blocks back, as it knows them.
    pub fn write_back(&mut self, file: &mut Backend, client: Client, write: Write<'_>) {
        let blocks = &mut self.blocks[client.index()];
        blocks.pages.write(write.offset, write.data);
        let written = pages_of(write.offset, write.data.len());
        for block in written.start / BLOCK..written.end.div_ceil(BLOCK) {
            for page in pages_of_block(block).filter(|page| !written.contains(page)) {
                let at = page * page_size() as u64;
                let len = file.size().saturating_sub(at).min(page_size() as u64) as usize;
                let mut image = vec![0; page_size()];
                blocks.pages.read(at, &mut image);
                if len > 0 {
                    file.write(at, &image[..len], Durability::Stable);
                }
            }
        }
    }

    /// The bytes were truncated, or became zeros.
    pub fn discard(&mut self, range: &Range<u64>) {
        let gone = page_of(range.start)..range.end.div_ceil(page_size() as u64);
        for late in &mut self.late {
            late.retain(|page, _| !gone.contains(page));
        }
        for blocks in &mut self.blocks {
            blocks.pages.punch(range.clone());
        }
    }
}

type Job = Box<dyn FnOnce(&Notifier) + Send>;

/// Tells one client's kernel things, in order, in a thread of its own: the kernel may write dirty pages back before it
/// has dropped them, so that no thread which answers requests can wait for it.
#[derive(Clone)]
pub struct Teller {
    pub notifier: Notifier,
    jobs: Sender<Job>,
}

impl Teller {
    pub fn start(notifier: Notifier) -> Self {
        let (jobs, queue) = channel::<Job>();
        let own = notifier.clone();
        thread::Builder::new()
            .name("teller".into())
            .spawn(move || queue.into_iter().for_each(|job| job(&own)))
            .expect("a thread that tells a client");
        Self { notifier, jobs }
    }

    /// Has the kernel forget what it caches of an inode.
    pub fn forget(&self, nodes: [INodeNo; 2]) {
        self.then(move |notifier| {
            for node in nodes {
                // ENOENT: it does not know the inode.
                let _ = notifier.inval_inode(node, 0, 0);
            }
        });
    }

    /// Does something once all that was told before is done.
    pub fn then(&self, job: impl FnOnce(&Notifier) + Send + 'static) {
        // The thread lasts as long as the process.
        let _ = self.jobs.send(Box::new(job));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn write(offset: u64, data: &[u8]) -> Write<'_> {
        Write { offset, data }
    }

    fn file(letters: &[u8]) -> Backend {
        let mut file = Backend::default();
        for (page, letter) in letters.iter().enumerate() {
            file.write(
                (page * page_size()) as u64,
                &vec![*letter; page_size()],
                Durability::Stable,
            );
        }
        file
    }

    fn seen(views: &mut Views, file: &Backend, client: Client, now: Instant) -> Vec<u8> {
        let mut bytes = vec![0; file.size() as usize];
        file.read(View::Visible, 0, &mut bytes);
        views.show(client, 0, &mut bytes, now);
        bytes.chunks(page_size()).map(|page| page[0]).collect()
    }

    #[test]
    fn the_other_client_sees_a_write_late_and_the_writer_at_once() {
        let (mut views, mut file, now) = (Views::default(), file(b"oo"), Instant::now());
        let until = now + Duration::from_millis(300);
        let new = vec![b'n'; page_size()];
        let change = write(page_size() as u64, &new);
        views.delay(&file, Client::First, change, until);
        file.write(change.offset, change.data, Durability::Stable);
        assert_eq!(seen(&mut views, &file, Client::First, now), b"on");
        assert_eq!(seen(&mut views, &file, Client::Second, now), b"oo");
        assert_eq!(seen(&mut views, &file, Client::Second, until), b"on");
    }

    #[test]
    fn a_stale_block_takes_the_others_write_away() {
        let (mut views, mut file) = (Views::default(), file(b"oooo"));
        for client in Client::ALL {
            views.learn(&file, client, 0, page_size());
        }
        for (client, page) in [(Client::First, 1), (Client::Second, 2)] {
            let new = vec![b'n'; page_size()];
            let change = write(page * page_size() as u64, &new);
            file.write(change.offset, change.data, Durability::Stable);
            views.write_back(&mut file, client, change);
        }
        assert_eq!(
            seen(&mut views, &file, Client::First, Instant::now()),
            b"oono"
        );
        assert_eq!(file.size(), 4 * page_size() as u64);
    }

    #[test]
    fn what_is_truncated_is_shown_to_nobody_any_more() {
        let (mut views, mut file, now) = (Views::default(), file(b"oo"), Instant::now());
        let until = now + Duration::from_secs(1);
        views.delay(
            &file,
            Client::First,
            write(0, &vec![b'n'; 2 * page_size()]),
            until,
        );
        views.discard(&(page_size() as u64..2 * page_size() as u64));
        file.truncate(page_size() as u64);
        file.truncate(2 * page_size() as u64);
        assert_eq!(seen(&mut views, &file, Client::Second, now), b"o\0");
    }
}
