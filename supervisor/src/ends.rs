//! Processes that end, and files that nobody has mapped any more: what belongs to them is let go.

use crate::enforce::is_verified;
use crate::file::File;
use crate::findings;
use crate::image::Image;
use crate::maps::{self, Area};
use crate::report;
use crate::supervisor::Supervisor;
use keepmydata_records::{Level, event};
use keepmydata_sys as sys;
use rustix::event::epoll;
use std::collections::HashMap;
use std::sync::Arc;

impl Supervisor {
    /// The process that was first seen with image `number` has ended: what belongs to it goes, unless others have its
    /// memory.
    pub fn process_has_ended(&self, number: u32) {
        for image in self.images.all() {
            if let (true, Some(pidfd)) = (image.number == number, &image.pidfd) {
                let _ = epoll::delete(&self.epoll, pidfd);
            }
        }
        self.look_who_is_gone();
        self.files.close_unclaimed();
    }

    /// The process of thread `tid` is about to end: nothing of what it has mapped is held any longer. Who waits for its
    /// end may unmount the filesystem next.
    pub fn exits(&self, tid: i32) {
        if self.log.has(Level::Info) {
            // The log names those that have mapped and synced nothing, too.
            let _ = self.image(tid);
        }
        if let Some(image) = self.images.of_process(tid) {
            let files = self.files.all();
            let claimed = files.iter().filter(|file| file.is_claimed_by(&image));
            claimed.for_each(|file| findings::at_exit(&self.log, &image, file, tid));
            report::at_end(&self.log, &image);
            self.hand_on_to_children(&image);
            self.files.forget(&image);
            // Another thread may be looking at them.
            for _ in 0..200 {
                if self.files.close_unclaimed() {
                    break;
                }
                sys::sleep(1_000_000);
            }
        }
    }

    /// Has the children of an image that ends claim what they have inherited from it: opening that anew may drop the page
    /// cache.
    fn hand_on_to_children(&self, image: &Image) {
        let files = self.files.all();
        if files.is_empty() {
            return;
        }
        for child in children_of(image.pid) {
            let areas = maps::shared(child).unwrap_or_default();
            let has = |file: &&Arc<File>| areas.iter().any(|area| area.inode == file.inode);
            let mut inherited = files.iter().filter(has).peekable();
            if inherited.peek().is_some()
                && let Ok(image) = self.image(child)
            {
                inherited.for_each(|file| drop(file.claim(&image)));
            }
        }
    }

    pub fn look_who_is_gone(&self) {
        for image in self.images.take_dead() {
            report::at_end(&self.log, &image);
            self.files.forget(&image);
        }
    }

    /// Lets go of files that nobody has mapped any more.
    pub fn look_what_is_unmapped(&self) {
        self.look_who_is_gone();
        let files = self.files.all();
        if files.is_empty() {
            return;
        }
        let mut seen = HashMap::new();
        for image in self.images.all() {
            // Where it cannot be asked, all stays.
            if let Ok(areas) = image.maps.shared() {
                seen.insert(image.number, (image, areas));
            }
        }
        for file in files {
            let unmapped = |number: u32| {
                let (image, areas) = seen.get(&number)?;
                let has = |areas: &[Area]| areas.iter().any(|area| area.inode == file.inode);
                // It may have been mapped since.
                let is_unmapped = !has(areas) && image.maps.shared().is_ok_and(|now| !has(&now));
                is_unmapped.then(|| image.clone())
            };
            let is_verified = is_verified(&self.log.settings, &file);
            if file.forget_unowed(is_verified, &unmapped) && !self.files.close(&file) {
                self.say_what_is_forgotten(&seen, &file);
            }
        }
    }

    fn say_what_is_forgotten(&self, seen: &HashMap<u32, (Arc<Image>, Vec<Area>)>, file: &File) {
        for (image, _) in seen.values() {
            let message = format!(
                "{} and other files were stored to, not synced, and are no longer mapped: too many to remember them all",
                String::from_utf8_lossy(&file.path)
            );
            report::say(
                &self.log,
                image,
                image.pid,
                Level::Warn,
                event::DOUBT,
                &message,
            );
        }
    }
}

/// The children of process `pid` (proc_pid_children(5)); none where the kernel does not tell.
fn children_of(pid: i32) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let children = threads.flat_map(|thread| {
        let list = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let numbers = list.split_whitespace().filter_map(|pid| pid.parse().ok());
        numbers.collect::<Vec<_>>()
    });
    children.collect()
}
