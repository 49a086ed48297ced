//! The tree of names.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use fuser::{Errno, FileType, INodeNo};

use super::inode::{Inode, Kind, Meta, inode_of};

/// A directory's entries by name, each with a cookie by which READDIR goes on.
#[derive(Default)]
struct Directory {
    parent: u64,
    entries: BTreeMap<OsString, (u64, u64)>,
    cookies: BTreeMap<u64, OsString>,
    numbered: u64,
}

impl Directory {
    fn insert(&mut self, name: &OsStr, ino: u64) {
        // Cookies 1 and 2 are those of "." and "..".
        self.numbered += 1;
        let cookie = self.numbered + 2;
        self.entries.insert(name.into(), (ino, cookie));
        self.cookies.insert(cookie, name.into());
    }

    fn remove(&mut self, name: &OsStr) {
        if let Some((_, cookie)) = self.entries.remove(name) {
            self.cookies.remove(&cookie);
        }
    }
}

/// One entry as READDIR tells it.
pub struct Listed {
    pub ino: u64,
    pub cookie: u64,
    pub kind: FileType,
    pub name: OsString,
}

/// The tree of names. Inodes outlive their names for as long as the kernel knows them.
pub struct Names {
    inodes: HashMap<u64, Arc<Inode>>,
    directories: HashMap<u64, Directory>,
    last: u64,
    /// Whether a new inode gets the number of one that is gone, if there is one.
    pub reuses: bool,
}

const ROOT: u64 = 1;

impl Names {
    pub fn new(uid: u32, gid: u32) -> Self {
        let mut names = Self {
            inodes: HashMap::new(),
            directories: HashMap::new(),
            last: 0,
            reuses: false,
        };
        let root = names.insert(Kind::Directory, Meta::new(0o755, uid, gid));
        names.directories.insert(
            root.ino,
            Directory {
                parent: ROOT,
                ..Directory::default()
            },
        );
        names
    }

    fn insert(&mut self, kind: Kind, meta: Meta) -> Arc<Inode> {
        let free = (1..=self.last).find(|number| self.reuses && !self.inodes.contains_key(number));
        let number = free.unwrap_or(self.last + 1);
        self.last = self.last.max(number);
        let inode = Arc::new(Inode::new(number, kind, meta));
        self.inodes.insert(inode.ino, Arc::clone(&inode));
        inode
    }

    /// # Errors
    /// ESTALE if there is none.
    pub fn get(&self, node: INodeNo) -> Result<Arc<Inode>, Errno> {
        let inode = self.inodes.get(&inode_of(node));
        inode.cloned().ok_or(Errno::ESTALE)
    }

    pub fn files(&self) -> Vec<Arc<Inode>> {
        let file = |inode: &&Arc<Inode>| !inode.kind.is_directory();
        self.inodes.values().filter(file).cloned().collect()
    }

    fn directory(&self, node: INodeNo) -> Result<&Directory, Errno> {
        self.directories.get(&node.0).ok_or(Errno::ENOENT)
    }

    fn directory_mut(&mut self, node: INodeNo) -> Result<&mut Directory, Errno> {
        self.directories.get_mut(&node.0).ok_or(Errno::ENOENT)
    }

    /// # Errors
    /// ENOENT.
    pub fn lookup(&self, parent: INodeNo, name: &OsStr) -> Result<Arc<Inode>, Errno> {
        let entries = &self.directory(parent)?.entries;
        let (ino, _) = entries.get(name).ok_or(Errno::ENOENT)?;
        self.get(INodeNo(*ino))
    }

    /// The inode at a path in the mount, as `/dir/name`.
    ///
    /// # Errors
    /// ENOENT.
    pub fn resolve(&self, path: &OsStr) -> Result<Arc<Inode>, Errno> {
        let mut inode = self.get(INodeNo(ROOT))?;
        for name in path
            .as_bytes()
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
        {
            inode = self.lookup(INodeNo(inode.ino), OsStr::from_bytes(name))?;
        }
        Ok(inode)
    }

    /// The path in the mount of an inode; `None` once it is unlinked.
    pub fn path(&self, ino: u64) -> Option<Vec<u8>> {
        let mut path = Vec::new();
        let mut ino = ino;
        while ino != ROOT {
            let place = self.inodes.get(&ino)?.place();
            let (parent, name) = place.as_ref()?;
            path.splice(0..0, [b"/", name.as_bytes()].concat());
            ino = *parent;
        }
        Some(path)
    }

    /// # Errors
    /// EEXIST; ENOENT if the directory is gone.
    pub fn create(
        &mut self,
        parent: INodeNo,
        name: &OsStr,
        kind: Kind,
        meta: Meta,
    ) -> Result<Arc<Inode>, Errno> {
        if self.directory(parent)?.entries.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let inode = self.insert(kind, meta);
        if inode.kind.is_directory() {
            let directory = Directory {
                parent: parent.0,
                ..Directory::default()
            };
            self.directories.insert(inode.ino, directory);
        }
        self.link(parent, name, &inode)?;
        Ok(inode)
    }

    fn link(&mut self, parent: INodeNo, name: &OsStr, inode: &Inode) -> Result<(), Errno> {
        self.directory_mut(parent)?.insert(name, inode.ino);
        *inode.place() = Some((parent.0, name.into()));
        self.get(parent)?.meta().touch();
        Ok(())
    }

    /// # Errors
    /// ENOENT, ENOTEMPTY, and EISDIR or ENOTDIR if it is not what is to be removed.
    pub fn remove(&mut self, parent: INodeNo, name: &OsStr, directory: bool) -> Result<(), Errno> {
        let inode = self.lookup(parent, name)?;
        self.check_removable(&inode, directory)?;
        self.directory_mut(parent)?.remove(name);
        *inode.place() = None;
        self.get(parent)?.meta().touch();
        self.drop_if_unused(&inode);
        Ok(())
    }

    fn check_removable(&self, inode: &Inode, directory: bool) -> Result<(), Errno> {
        match self.directories.get(&inode.ino) {
            Some(_) if !directory => Err(Errno::EISDIR),
            None if directory => Err(Errno::ENOTDIR),
            Some(entries) if !entries.entries.is_empty() => Err(Errno::ENOTEMPTY),
            _ => Ok(()),
        }
    }

    /// # Errors
    /// ENOENT, EEXIST with `noreplace`, and what removing the old target may give.
    pub fn rename(
        &mut self,
        (parent, name): (INodeNo, &OsStr),
        (new_parent, new_name): (INodeNo, &OsStr),
        noreplace: bool,
    ) -> Result<(), Errno> {
        let inode = self.lookup(parent, name)?;
        let is_directory = inode.kind.is_directory();
        match self.lookup(new_parent, new_name) {
            Ok(_) if noreplace => return Err(Errno::EEXIST),
            Ok(target) if target.ino == inode.ino => return Ok(()),
            Ok(_) => self.remove(new_parent, new_name, is_directory)?,
            Err(_) => {}
        }
        self.directory_mut(parent)?.remove(name);
        self.get(parent)?.meta().touch();
        self.link(new_parent, new_name, &inode)?;
        if let Some(directory) = self.directories.get_mut(&inode.ino) {
            directory.parent = new_parent.0;
        }
        Ok(())
    }

    /// The entries after the cookie, in the order of their creation.
    ///
    /// # Errors
    /// ENOENT if the directory is gone.
    pub fn list(&self, node: INodeNo, after: u64) -> Result<Vec<Listed>, Errno> {
        let directory = self.directory(node)?;
        let dots = [(1, node.0, "."), (2, directory.parent, "..")];
        let dots = dots.into_iter().map(|(cookie, ino, name)| Listed {
            ino,
            cookie,
            kind: FileType::Directory,
            name: name.into(),
        });
        let named = directory.cookies.iter().filter_map(|(&cookie, name)| {
            let (ino, _) = directory.entries.get(name)?;
            let kind = self.inodes.get(ino)?.file_type();
            let name = name.clone();
            Some(Listed {
                ino: *ino,
                cookie,
                kind,
                name,
            })
        });
        Ok(dots
            .chain(named)
            .filter(|listed| listed.cookie > after)
            .collect())
    }

    /// The kernel forgets that it was told of the inode so often.
    pub fn forget(&mut self, node: INodeNo, count: u64) {
        if let Ok(inode) = self.get(node) {
            inode.forgotten(count);
            self.drop_if_unused(&inode);
        }
    }

    /// Drops an inode that has no name and that the kernel does not know.
    fn drop_if_unused(&mut self, inode: &Inode) {
        let named = inode.ino == ROOT || inode.place().is_some();
        if !named && !inode.is_known() {
            self.directories.remove(&inode.ino);
            self.inodes.remove(&inode.ino);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn file() -> Kind {
        Kind::File(Mutex::default())
    }

    fn meta() -> Meta {
        Meta::new(0o644, 0, 0)
    }

    const TOP: INodeNo = INodeNo(ROOT);

    #[test]
    fn paths_follow_renames() {
        let mut names = Names::new(0, 0);
        let dir = names
            .create(TOP, "d".as_ref(), Kind::Directory, meta())
            .unwrap();
        let dir = INodeNo(dir.ino);
        let inode = names.create(dir, "f".as_ref(), file(), meta()).unwrap();
        assert_eq!(names.path(inode.ino).unwrap(), b"/d/f");
        names
            .rename((dir, "f".as_ref()), (TOP, "g".as_ref()), false)
            .unwrap();
        assert_eq!(names.path(inode.ino).unwrap(), b"/g");
        assert_eq!(names.resolve("/g".as_ref()).unwrap().ino, inode.ino);
        assert!(names.resolve("/d/f".as_ref()).is_err());
    }

    #[test]
    fn an_unlinked_inode_lives_until_it_is_forgotten() {
        let mut names = Names::new(0, 0);
        let inode = names.create(TOP, "f".as_ref(), file(), meta()).unwrap();
        inode.told();
        names.remove(TOP, "f".as_ref(), false).unwrap();
        assert!(names.get(INodeNo(inode.ino)).is_ok());
        names.forget(INodeNo(inode.ino), 1);
        assert!(names.get(INodeNo(inode.ino)).is_err());
    }

    #[test]
    fn only_what_is_empty_is_removed_or_replaced() {
        let mut names = Names::new(0, 0);
        let dir = names
            .create(TOP, "d".as_ref(), Kind::Directory, meta())
            .unwrap();
        names
            .create(INodeNo(dir.ino), "f".as_ref(), file(), meta())
            .unwrap();
        let remove = |names: &mut Names, directory| {
            names
                .remove(TOP, "d".as_ref(), directory)
                .map_err(Errno::code)
        };
        assert_eq!(remove(&mut names, true), Err(libc::ENOTEMPTY));
        assert_eq!(remove(&mut names, false), Err(libc::EISDIR));
        names.remove(INodeNo(dir.ino), "f".as_ref(), false).unwrap();
        assert_eq!(remove(&mut names, true), Ok(()));
    }

    #[test]
    fn listing_goes_on_after_a_removal() {
        let mut names = Names::new(0, 0);
        for name in ["a", "b", "c"] {
            names.create(TOP, name.as_ref(), file(), meta()).unwrap();
        }
        let first: Vec<_> = names.list(TOP, 0).unwrap();
        let told: Vec<_> = first
            .iter()
            .map(|listed| listed.name.to_str().unwrap())
            .collect();
        assert_eq!(told, [".", "..", "a", "b", "c"]);
        names.remove(TOP, "a".as_ref(), false).unwrap();
        let rest = names.list(TOP, first[2].cookie).unwrap();
        assert_eq!(rest.len(), 2);
    }

    #[test]
    fn a_file_that_is_open_gets_its_second_node_id() {
        let mut names = Names::new(0, 0);
        let inode = names.create(TOP, "f".as_ref(), file(), meta()).unwrap();
        let first = inode.entry(true).ino;
        assert_eq!(first.0, inode.ino);
        inode.opened(first, 1);
        let second = inode.entry(true).ino;
        assert_ne!(second, first);
        assert_eq!(inode_of(second), inode.ino);
        assert_eq!(inode.entry(false).ino, first);
        inode.opened(second, 1);
        inode.opened(first, -1);
        assert_eq!(inode.entry(true).ino, first);
    }
}
