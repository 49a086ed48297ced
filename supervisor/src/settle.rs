//! What is owed is proved before somebody may drop it.

use crate::call::{Began, Call};
use crate::enforce::{enforce, enforce_in_turn, is_verified};
use crate::file::File;
use crate::image::{Image, lock};
use crate::marks;
use crate::supervisor::Supervisor;
use keepmydata_ranges::Ranges;
use std::sync::{Arc, MutexGuard};

impl Supervisor {
    /// Thread `tid` is about to drop pages of these files: what is owed of them is proved before, to whomever.
    pub fn settle(&self, tid: i32, files: &[Arc<File>]) {
        if files.is_empty() {
            return;
        }
        self.see(tid, files);
        for image in self.images.all() {
            files
                .iter()
                .for_each(|file| self.settle_for(&image, file, None));
        }
    }

    /// The process of thread `tid` has maybe inherited mappings of these files, and nobody has seen it yet.
    fn see(&self, tid: i32, files: &[Arc<File>]) {
        if files.is_empty() {
            return;
        }
        let Some(image) = self.own_image(tid) else {
            return;
        };
        for file in files.iter().filter(|file| !file.is_claimed_by(&image)) {
            if !image.maps.of_file(file.inode).is_empty() {
                drop(file.claim(&image));
            }
        }
    }

    /// Whether the next msync of `file` is verified: all are, or a sync of it has failed.
    pub fn is_proved(&self, file: &File) -> bool {
        is_verified(&self.log.settings, file) || file.is_suspect()
    }

    /// Proves what `image` is owed of `file`, unless it is known to be nothing; in the `turn` of the file, if the caller has it.
    pub fn settle_for(
        &self,
        image: &Arc<Image>,
        file: &Arc<File>,
        turn: Option<&MutexGuard<'_, ()>>,
    ) {
        let is_ours = !image.is_preloaded() && file.is_claimed_by(image);
        if !is_ours || !self.is_proved(file) || file.handle().is_err() {
            return;
        }
        let claim = file.claim(image);
        if lock(&claim.state).is_clean(image) {
            return;
        }
        let call = Call {
            image: image.clone(),
            file: file.clone(),
            tid: image.pid,
            number: image.next_call(),
            began: Began::now(),
            addr: 0,
            len: 0,
            flags: libc::MS_SYNC,
            settles: true,
            offset: 0,
        };
        let mut patience = self.patience();
        match turn {
            Some(turn) => drop(enforce_in_turn(&self.log, call, turn, &mut patience)),
            None => drop(enforce(&self.log, call, &mut patience)),
        }
        self.files.note_untold(file);
    }

    /// The page cache of a file may have been dropped right now: where nothing was stored since all was proved, nothing is
    /// missing, and what was dropped is not taken for stored to.
    pub fn look_after_drop(&self, image: &Arc<Image>, file: &File) {
        let claim = file.claim(image);
        let drops = file.ask_probe(true).drops;
        let mut state = lock(&claim.state);
        if !state.is_clean(image) {
            return;
        }
        let size = file.size().unwrap_or(0);
        let mut written = Ranges::new();
        for area in &state.areas {
            if state.tracked.contains_key(&area.start) {
                let _ = marks::take(image, &marks::inside(area, size), &mut written);
            }
        }
        match state.is_clean(image) {
            true => state.seen_drops = drops,
            false => lock(&claim.debt).owe(&written, false),
        }
    }
}
