//! Record locks that both clients of a cluster share (fcntl(2)). With one mount they are the kernel's own.

use std::collections::HashMap;

use super::cluster::Client;

/// Who holds a lock: a client's word for one of its processes or descriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(pub Client, pub u64);

/// A lock, held or wanted, of the bytes from `start` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    pub owner: Owner,
    pub start: u64,
    pub last: u64,
    pub exclusive: bool,
    pub pid: u32,
}

impl Lock {
    /// As fcntl(2) has it.
    pub fn kind(&self) -> i32 {
        match self.exclusive {
            true => libc::F_WRLCK,
            false => libc::F_RDLCK,
        }
    }

    fn touches(&self, other: &Lock) -> bool {
        self.start <= other.last && other.start <= self.last
    }

    fn excludes(&self, other: &Lock) -> bool {
        self.owner != other.owner && self.touches(other) && (self.exclusive || other.exclusive)
    }
}

/// What is done once a lock that was waited for is held.
pub type Granted = Box<dyn FnOnce() + Send>;

#[derive(Default)]
pub struct Locks {
    held: HashMap<u64, Vec<Lock>>,
    /// In the order in which they came.
    waiting: Vec<(u64, Lock, Granted)>,
}

impl Locks {
    /// A lock of the file that excludes this one.
    pub fn against(&self, ino: u64, wanted: &Lock) -> Option<Lock> {
        let mut held = self.held.get(&ino)?.iter();
        held.find(|held| held.excludes(wanted)).copied()
    }

    /// Takes the lock, unless another excludes it. Says whether it did, and what else can be granted now: a lock that
    /// was exclusive may be so no more.
    pub fn take(&mut self, ino: u64, wanted: Lock) -> (bool, Vec<Granted>) {
        if self.against(ino, &wanted).is_some() {
            return (false, Vec::new());
        }
        self.cut(ino, &wanted);
        self.held.entry(ino).or_default().push(wanted);
        (true, self.grant())
    }

    /// Takes it as soon as that can be, and then does `granted`.
    pub fn wait(&mut self, ino: u64, wanted: Lock, granted: Granted) {
        self.waiting.push((ino, wanted, granted));
    }

    /// The owner gives the bytes up; what can be granted now.
    pub fn release(&mut self, ino: u64, given_up: Lock) -> Vec<Granted> {
        self.cut(ino, &given_up);
        self.grant()
    }

    /// The owner gives all of the file up; what can be granted now.
    pub fn release_all(&mut self, ino: u64, owner: Owner) -> Vec<Granted> {
        let everything = Lock {
            owner,
            start: 0,
            last: u64::MAX,
            exclusive: false,
            pid: 0,
        };
        self.release(ino, everything)
    }

    /// Takes the bytes out of what the owner holds.
    fn cut(&mut self, ino: u64, gone: &Lock) {
        let Some(held) = self.held.get_mut(&ino) else {
            return;
        };
        let mut left = Vec::new();
        for lock in held.drain(..) {
            if lock.owner != gone.owner || !lock.touches(gone) {
                left.push(lock);
                continue;
            }
            if lock.start < gone.start {
                let last = gone.start - 1;
                left.push(Lock { last, ..lock });
            }
            if lock.last > gone.last {
                let start = gone.last + 1;
                left.push(Lock { start, ..lock });
            }
        }
        *held = left;
    }

    fn grant(&mut self) -> Vec<Granted> {
        let mut granted = Vec::new();
        for (ino, wanted, then) in std::mem::take(&mut self.waiting) {
            if self.against(ino, &wanted).is_some() {
                self.waiting.push((ino, wanted, then));
                continue;
            }
            self.cut(ino, &wanted);
            self.held.entry(ino).or_default().push(wanted);
            granted.push(then);
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Owner = Owner(Client::First, 7);
    const B: Owner = Owner(Client::Second, 7);

    fn lock(owner: Owner, start: u64, last: u64, exclusive: bool) -> Lock {
        Lock {
            owner,
            start,
            last,
            exclusive,
            pid: 1,
        }
    }

    #[test]
    fn the_same_word_of_two_clients_is_two_owners() {
        let mut locks = Locks::default();
        assert!(locks.take(1, lock(A, 0, 9, true)).0);
        assert!(!locks.take(1, lock(B, 9, 9, false)).0);
        assert!(locks.take(1, lock(B, 10, 19, true)).0);
        assert!(locks.take(2, lock(B, 0, 9, true)).0);
    }

    #[test]
    fn readers_share_and_a_part_can_be_given_up() {
        let mut locks = Locks::default();
        assert!(locks.take(1, lock(A, 0, 9, false)).0);
        assert!(locks.take(1, lock(B, 0, 9, false)).0);
        assert!(!locks.take(1, lock(A, 0, 9, true)).0);
        locks.release(1, lock(B, 3, 5, false));
        assert!(locks.take(1, lock(A, 3, 5, true)).0);
        assert!(locks.against(1, &lock(A, 2, 2, true)).is_some());
        assert!(locks.against(1, &lock(A, 6, 6, true)).is_some());
    }

    #[test]
    fn who_waits_is_granted_it_when_the_owner_goes() {
        let mut locks = Locks::default();
        assert!(locks.take(1, lock(A, 0, u64::MAX, true)).0);
        locks.wait(1, lock(B, 0, 9, true), Box::new(|| ()));
        assert_eq!(locks.release(1, lock(A, 5, 9, true)).len(), 0);
        assert_eq!(locks.release_all(1, A).len(), 1);
        assert!(!locks.take(1, lock(A, 0, 0, true)).0);
        assert!(locks.take(1, lock(A, 10, 10, true)).0);
    }
}
