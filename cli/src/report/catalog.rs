//! The files, processes and threads that records are about, each known by a small number.

use keepmydata_records::{Dev, Record};
use std::collections::{HashMap, HashSet};

/// So many files are told apart; what comes later counts as one file, the last.
pub const FILES: usize = 10_000;
/// So many processes are told apart, and so many threads.
pub const PROCESSES: usize = 10_000;

pub type FileId = u32;
pub type ProcessId = u32;
pub type ThreadId = u32;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileKey {
    pub path: String,
    pub dev: Option<Dev>,
    pub ino: Option<u64>,
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    pub file: Option<FileId>,
    pub process: ProcessId,
    pub thread: ThreadId,
}

#[derive(Default)]
pub struct Catalog {
    files: Vec<FileKey>,
    file_ids: HashMap<FileKey, FileId>,
    /// The latest file of an inode.
    by_inode: HashMap<(Option<Dev>, u64), FileId>,
    /// Process ids of the system.
    processes: Vec<u32>,
    process_ids: HashMap<u32, ProcessId>,
    threads: Vec<(ProcessId, u32)>,
    thread_ids: HashMap<(ProcessId, u32), ThreadId>,
}

impl Catalog {
    pub fn about(&mut self, record: &Record<'_>) -> About {
        let process = self.process(record.pid);
        About {
            file: self.file(record),
            process,
            thread: self.thread(process, record.tid),
        }
    }

    fn file(&mut self, record: &Record<'_>) -> Option<FileId> {
        if record.path.is_empty() {
            let ino = record.ino?;
            if let Some(&id) = self.by_inode.get(&(record.dev, ino)) {
                return Some(id);
            }
        }
        let path = match record.path.is_empty() {
            true => "(no name)".to_owned(),
            false => String::from_utf8_lossy(&record.path.0).into_owned(),
        };
        let (dev, ino) = (record.dev, record.ino);
        let key = FileKey { path, dev, ino };
        if let Some(&id) = self.file_ids.get(&key) {
            return Some(id);
        }
        let id = self.files.len() as FileId;
        if self.files.len() > FILES {
            return Some(id - 1);
        }
        let key = match self.files.len() < FILES {
            true => key,
            false => FileKey {
                path: "(all further files)".into(),
                dev: None,
                ino: None,
            },
        };
        self.files.push(key.clone());
        self.file_ids.insert(key, id);
        if let Some(ino) = ino {
            self.by_inode.insert((dev, ino), id);
        }
        Some(id)
    }

    fn process(&mut self, pid: u32) -> ProcessId {
        if let Some(&id) = self.process_ids.get(&pid) {
            return id;
        }
        let id = self.processes.len() as ProcessId;
        if self.processes.len() == PROCESSES {
            return id - 1;
        }
        self.processes.push(pid);
        self.process_ids.insert(pid, id);
        id
    }

    fn thread(&mut self, process: ProcessId, tid: u32) -> ThreadId {
        if let Some(&id) = self.thread_ids.get(&(process, tid)) {
            return id;
        }
        let id = self.threads.len() as ThreadId;
        if self.threads.len() == PROCESSES {
            return id - 1;
        }
        self.threads.push((process, tid));
        self.thread_ids.insert((process, tid), id);
        id
    }

    pub fn files(&self) -> &[FileKey] {
        &self.files
    }

    pub fn processes(&self) -> &[u32] {
        &self.processes
    }

    /// The process of each thread, and its thread id of the system.
    pub fn threads(&self) -> &[(ProcessId, u32)] {
        &self.threads
    }

    /// How many threads each process has.
    pub fn threads_of(&self) -> HashMap<ProcessId, usize> {
        let mut counts = HashMap::new();
        for (process, _) in &self.threads {
            *counts.entry(*process).or_default() += 1;
        }
        counts
    }

    /// The file with this inode, where there is but one.
    pub fn file_by_inode(&self) -> HashMap<u64, FileId> {
        let mut found = HashMap::new();
        let mut several = HashSet::new();
        for ((_, ino), id) in &self.by_inode {
            if found.insert(*ino, *id).is_some() {
                several.insert(*ino);
            }
        }
        found.retain(|ino, _| !several.contains(ino));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keepmydata_records::Level;

    #[test]
    fn a_file_without_name_is_known_by_its_inode() {
        let mut catalog = Catalog::default();
        let named = Record {
            path: "/f".into(),
            ino: Some(2),
            ..Record::new(Level::Info, 1, 1)
        };
        let unnamed = Record {
            ino: Some(2),
            ..Record::new(Level::Info, 1, 2)
        };
        let about = catalog.about(&named);
        assert_eq!(catalog.about(&unnamed).file, about.file);
        assert_eq!(catalog.about(&unnamed).process, about.process);
        assert_ne!(catalog.about(&unnamed).thread, about.thread);
        assert_eq!(catalog.about(&Record::new(Level::Info, 1, 1)).file, None);
        assert_eq!(catalog.file_by_inode()[&2], about.file.unwrap());
    }

    #[test]
    fn there_is_an_end_to_what_is_told_apart() {
        let mut catalog = Catalog::default();
        for pid in 0..2 * PROCESSES as u32 {
            let path = format!("/f{pid}");
            let record = Record {
                path: path.as_str().into(),
                ..Record::new(Level::Info, pid, pid)
            };
            catalog.about(&record);
        }
        assert_eq!(catalog.files().len(), FILES + 1);
        assert_eq!(catalog.files()[FILES].path, "(all further files)");
        assert_eq!(catalog.processes().len(), PROCESSES);
        assert_eq!(catalog.threads().len(), PROCESSES);
    }
}
