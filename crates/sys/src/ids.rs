//! User and group ids of a thread.

use super::raw;
use super::wipe::Region;
use rustix::io::Errno;

/// Real, effective and saved; as getresuid(2) and getresgid(2) give them.
type Three = [u32; 3];

/// What setuid(3) and its relatives change.
pub struct Ids {
    users: Three,
    groups: Three,
    supplementary: Option<List>,
}

impl Ids {
    /// Those of the calling thread. Any context.
    pub fn of_caller() -> Ids {
        let (mut users, mut groups) = (Three::default(), Three::default());
        let [real, effective, saved] = &mut users;
        let _ = raw::sys_getresuid(real, effective, saved);
        let [real, effective, saved] = &mut groups;
        let _ = raw::sys_getresgid(real, effective, saved);
        Ids {
            users,
            groups,
            supplementary: List::of_caller(),
        }
    }

    /// Has the calling thread take them on. What changed in one call of the program's, a thread
    /// with the ids of before may change too (setresuid(2)).
    ///
    /// Errors: `EPERM` where the thread may not; `ENOMEM`.
    pub fn adopt(&self) -> Result<(), Errno> {
        let list = self.supplementary.as_ref().ok_or(Errno::NOMEM)?;
        let own = Ids::of_caller();
        let same = own
            .supplementary
            .is_some_and(|own| own.as_slice() == list.as_slice());
        if !same {
            raw::sys_setgroups(list.as_slice())?;
        }
        // Groups first: who is no longer root may not change them.
        if own.groups != self.groups {
            let [real, effective, saved] = self.groups;
            raw::sys_setresgid(real, effective, saved)?;
        }
        if own.users != self.users {
            let [real, effective, saved] = self.users;
            raw::sys_setresuid(real, effective, saved)?;
        }
        Ok(())
    }
}

/// Supplementary groups: up to 65,536, so in memory of their own.
struct List {
    memory: Option<Region>,
    count: usize,
}

impl List {
    /// getgroups(2); nothing where memory is out.
    fn of_caller() -> Option<List> {
        let count = raw::sys_getgroups(&mut []).ok()?;
        if count == 0 {
            return Some(List {
                memory: None,
                count,
            });
        }
        let mut memory = Region::new(count * size_of::<u32>())?;
        // Only this thread's own calls change them.
        let count = raw::sys_getgroups(memory.numbers_mut(0, count)).unwrap_or(0);
        Some(List {
            memory: Some(memory),
            count,
        })
    }

    fn as_slice(&self) -> &[u32] {
        match &self.memory {
            Some(memory) => memory.numbers(0, self.count),
            None => &[],
        }
    }
}
