//! The tree of folders: what is where, who holds it, and what it takes.

use bytes::Bytes;

use super::{
    content::Content,
    node::{Folder, Kind, Node, NodeId, Times},
    path::{Found, Place, check_name},
    quota::{Problem, Quota},
};

/// What a name takes: itself, twice, and its node.
const NODE_BYTES: u64 = 1024;

/// A file system. Gives everything back when it is dropped.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Option<Node>>,
    free: Vec<NodeId>,
    quota: Quota,
    next_number: u64,
    /// What the clock says; set by whoever calls.
    now: u64,
}

impl Tree {
    /// The folder above all others.
    pub(crate) const ROOT: NodeId = 0;

    pub(crate) fn new(quota: Quota) -> Self {
        let root = Node {
            kind: Kind::Folder(Folder::default()),
            number: 1,
            names: 1,
            holders: 0,
            times: Times::default(),
        };
        Self {
            nodes: vec![Some(root)],
            free: Vec::new(),
            quota,
            next_number: 2,
            now: 0,
        }
    }

    /// Says what time it is, for whatever is changed from now on.
    pub(crate) fn set_clock(&mut self, now: u64) {
        self.now = now;
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        self.nodes[id]
            .as_ref()
            .expect("a node that is named or held is there")
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id]
            .as_mut()
            .expect("a node that is named or held is there")
    }

    pub(crate) fn kind(&self, id: NodeId) -> &Kind {
        &self.node(id).kind
    }

    pub(crate) fn entries(&self, folder: NodeId) -> Result<&Folder, Problem> {
        match self.kind(folder) {
            Kind::Folder(entries) => Ok(entries),
            Kind::File(_) | Kind::Link(_) => Err(Problem::NoFolder),
        }
    }

    fn entries_mut(&mut self, folder: NodeId) -> Result<&mut Folder, Problem> {
        let now = self.now;
        let node = self.node_mut(folder);
        node.times.written = now;
        node.times.changed = now;
        match &mut node.kind {
            Kind::Folder(entries) => Ok(entries),
            Kind::File(_) | Kind::Link(_) => Err(Problem::NoFolder),
        }
    }

    /// Makes an empty file under a free name.
    pub(crate) fn make_file(&mut self, folder: NodeId, name: &str) -> Result<NodeId, Problem> {
        self.make(folder, name, Kind::File(Content::empty()))
    }

    /// Makes a file with content that others have too.
    pub(crate) fn make_shared_file(
        &mut self,
        folder: NodeId,
        name: &str,
        bytes: Bytes,
    ) -> Result<NodeId, Problem> {
        let id = self.make_file(folder, name)?;
        let content = Content::shared(bytes, &mut self.quota)?;
        self.node_mut(id).kind = Kind::File(content);
        Ok(id)
    }

    /// Makes an empty folder under a free name.
    pub(crate) fn make_folder(&mut self, folder: NodeId, name: &str) -> Result<NodeId, Problem> {
        self.make(folder, name, Kind::Folder(Folder::default()))
    }

    /// Makes a link under a free name; where it leads is checked when it is followed.
    pub(crate) fn make_link(&mut self, folder: NodeId, name: &str, target: &str) -> Result<NodeId, Problem> {
        self.quota.take(target.len() as u64)?;
        self.make(folder, name, Kind::Link(target.to_owned()))
            .inspect_err(|_| self.quota.give_back(target.len() as u64))
    }

    fn make(&mut self, folder: NodeId, name: &str, kind: Kind) -> Result<NodeId, Problem> {
        self.check_free(folder, name)?;
        self.quota.take(NODE_BYTES)?;
        let node = Node {
            kind,
            number: self.next_number,
            names: 1,
            holders: 0,
            times: Times {
                read: self.now,
                written: self.now,
                changed: self.now,
            },
        };
        self.next_number += 1;
        let id = self.free.pop().unwrap_or(self.nodes.len());
        if id == self.nodes.len() {
            self.nodes.push(Some(node));
        } else {
            self.nodes[id] = Some(node);
        }
        self.name(folder, name, id)?;
        Ok(id)
    }

    fn name(&mut self, folder: NodeId, name: &str, id: NodeId) -> Result<(), Problem> {
        let order = self.next_number;
        self.next_number += 1;
        self.entries_mut(folder)?.insert(name, id, order);
        Ok(())
    }

    fn check_free(&self, folder: NodeId, name: &str) -> Result<(), Problem> {
        check_name(name)?;
        // A folder that was removed while somebody holds it takes nothing more.
        if self.node(folder).names == 0 {
            return Err(Problem::NotFound);
        }
        if self.entries(folder)?.get(name).is_some() {
            return Err(Problem::Exists);
        }
        Ok(())
    }

    /// Gives a file a second name.
    pub(crate) fn link(&mut self, node: NodeId, folder: NodeId, name: &str) -> Result<(), Problem> {
        if matches!(self.kind(node), Kind::Folder(_)) {
            return Err(Problem::IsFolder);
        }
        self.check_free(folder, name)?;
        self.quota.take(NODE_BYTES)?;
        self.name(folder, name, node)?;
        self.node_mut(node).names += 1;
        Ok(())
    }

    /// Removes a file's or a link's name; the rest goes with its last name and holder.
    pub(crate) fn remove_file(&mut self, place: &Place) -> Result<(), Problem> {
        let node = self.at(place)?;
        if matches!(self.kind(node), Kind::Folder(_)) {
            return Err(Problem::IsFolder);
        }
        if place.must_be_folder {
            return Err(Problem::NoFolder);
        }
        self.unname(place, node)
    }

    /// Removes an empty folder.
    pub(crate) fn remove_folder(&mut self, place: &Place) -> Result<(), Problem> {
        let node = self.at(place)?;
        if !self.entries(node)?.is_empty() {
            return Err(Problem::NotEmpty);
        }
        self.unname(place, node)
    }

    /// Moves something to another name, over what is there where POSIX lets it.
    pub(crate) fn rename(&mut self, from: &Place, to: &Place) -> Result<(), Problem> {
        let node = self.at(from)?;
        let is_folder = matches!(self.kind(node), Kind::Folder(_));
        if (from.must_be_folder || to.must_be_folder) && !is_folder {
            return Err(Problem::NoFolder);
        }
        if is_folder && self.is_within(to.folder, node) {
            return Err(Problem::Invalid);
        }
        match self.entries(to.folder)?.get(&to.name) {
            Some(other) if other == node => return Ok(()),
            Some(other) => {
                match (is_folder, self.kind(other)) {
                    (true, Kind::Folder(_)) => self.remove_folder(to)?,
                    (true, Kind::File(_) | Kind::Link(_)) => return Err(Problem::NoFolder),
                    (false, Kind::Folder(_)) => return Err(Problem::IsFolder),
                    (false, Kind::File(_) | Kind::Link(_)) => self.unname(to, other)?,
                };
            }
            None => self.check_free(to.folder, &to.name)?,
        }
        self.entries_mut(from.folder)?.remove(&from.name);
        self.name(to.folder, &to.name, node)
    }

    /// Returns whether a folder is another one or somewhere below it.
    fn is_within(&self, folder: NodeId, ancestor: NodeId) -> bool {
        let mut open = vec![ancestor];
        while let Some(id) = open.pop() {
            if id == folder {
                return true;
            }
            if let Kind::Folder(entries) = self.kind(id) {
                open.extend(
                    entries
                        .ids()
                        .filter(|id| matches!(self.kind(*id), Kind::Folder(_))),
                );
            }
        }
        false
    }

    fn at(&self, place: &Place) -> Result<NodeId, Problem> {
        let entries = self.entries(place.folder)?;
        entries.get(&place.name).ok_or(Problem::NotFound)
    }

    fn unname(&mut self, place: &Place, id: NodeId) -> Result<(), Problem> {
        self.entries_mut(place.folder)?.remove(&place.name);
        let node = self.node_mut(id);
        node.names -= 1;
        if node.names > 0 {
            self.quota.give_back(NODE_BYTES);
        }
        self.bury(id);
        Ok(())
    }

    /// Holds a node: it stays even without a name.
    pub(crate) fn hold(&mut self, id: NodeId) {
        self.node_mut(id).holders += 1;
    }

    /// Lets a node go.
    pub(crate) fn release(&mut self, id: NodeId) {
        self.node_mut(id).holders -= 1;
        self.bury(id);
    }

    fn bury(&mut self, id: NodeId) {
        let node = self.nodes[id]
            .as_mut()
            .expect("a node that is named or held is there");
        if node.names > 0 || node.holders > 0 {
            return;
        }
        match &mut node.kind {
            Kind::File(content) => content.discard(&mut self.quota),
            Kind::Link(target) => self.quota.give_back(target.len() as u64),
            Kind::Folder(_) => {}
        }
        self.quota.give_back(NODE_BYTES);
        self.nodes[id] = None;
        self.free.push(id);
    }

    /// Reads from a file.
    pub(crate) fn read(&mut self, id: NodeId, at: u64, into: &mut [u8]) -> Result<usize, Problem> {
        let now = self.now;
        let node = self.node_mut(id);
        node.times.read = now;
        match &node.kind {
            Kind::File(content) => Ok(content.read(at, into)),
            Kind::Folder(_) => Err(Problem::IsFolder),
            Kind::Link(_) => Err(Problem::Invalid),
        }
    }

    /// Writes to a file; fewer bytes where the space ends in the middle.
    pub(crate) fn write(&mut self, id: NodeId, at: u64, from: &[u8]) -> Result<usize, Problem> {
        self.change(id, |content, quota| content.write(at, from, quota))
    }

    pub(crate) fn set_len(&mut self, id: NodeId, len: u64) -> Result<(), Problem> {
        self.change(id, |content, quota| content.set_len(len, quota))
    }

    pub(crate) fn reserve(&mut self, id: NodeId, at: u64, count: u64) -> Result<(), Problem> {
        self.change(id, |content, quota| content.reserve(at, count, quota))
    }

    fn change<T>(
        &mut self,
        id: NodeId,
        change: impl FnOnce(&mut Content, &mut Quota) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let node = self.nodes[id]
            .as_mut()
            .expect("a node that is named or held is there");
        node.times.written = self.now;
        node.times.changed = self.now;
        match &mut node.kind {
            Kind::File(content) => change(content, &mut self.quota),
            Kind::Folder(_) => Err(Problem::IsFolder),
            Kind::Link(_) => Err(Problem::Invalid),
        }
    }

    /// Returns the length of a file or a link; folders have none.
    pub(crate) fn len(&self, id: NodeId) -> u64 {
        match self.kind(id) {
            Kind::File(content) => content.len(),
            Kind::Link(target) => target.len() as u64,
            Kind::Folder(_) => 0,
        }
    }

    pub(crate) fn set_times(&mut self, id: NodeId, read: Option<u64>, written: Option<u64>) {
        let now = self.now;
        let times = &mut self.node_mut(id).times;
        times.read = read.unwrap_or(times.read);
        times.written = written.unwrap_or(times.written);
        times.changed = now;
    }

    /// Returns the node at a path's end, or makes a file there.
    pub(crate) fn found_or_made(&mut self, found: Found) -> Result<NodeId, Problem> {
        match found {
            Found::Node(node) => Ok(node),
            Found::Free(place) if place.must_be_folder => Err(Problem::IsFolder),
            Found::Free(place) => self.make_file(place.folder, &place.name),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::budget::Budget;

    const DISK: u64 = 1 << 20;

    pub(in crate::files) fn tree() -> Tree {
        Tree::new(Quota::new(DISK, Arc::new(Budget::new(u64::MAX))))
    }

    fn place(folder: NodeId, name: &str) -> Place {
        Place {
            folder,
            name: name.to_owned(),
            must_be_folder: false,
        }
    }

    #[test]
    fn everything_that_was_taken_is_given_back() {
        let mut tree = tree();
        let folder = tree.make_folder(Tree::ROOT, "folder").unwrap();
        let file = tree.make_file(folder, "file").unwrap();
        tree.write(file, 0, &[1; 10_000]).unwrap();
        tree.link(file, Tree::ROOT, "second").unwrap();
        tree.make_link(Tree::ROOT, "link", "folder/file").unwrap();

        tree.remove_file(&place(folder, "file")).unwrap();
        tree.remove_file(&place(Tree::ROOT, "second")).unwrap();
        tree.remove_file(&place(Tree::ROOT, "link")).unwrap();
        tree.remove_folder(&place(Tree::ROOT, "folder")).unwrap();

        assert_eq!(tree.quota.free(), DISK);
    }

    #[test]
    fn a_file_without_a_name_lives_while_it_is_held() {
        let mut tree = tree();
        let file = tree.make_file(Tree::ROOT, "file").unwrap();
        tree.hold(file);
        tree.write(file, 0, b"kept").unwrap();

        tree.remove_file(&place(Tree::ROOT, "file")).unwrap();

        let mut bytes = [0; 4];
        assert_eq!(tree.read(file, 0, &mut bytes), Ok(4));
        tree.release(file);
        assert_eq!(tree.quota.free(), DISK);
    }

    #[test]
    fn a_removed_folder_takes_nothing_more() {
        let mut tree = tree();
        let folder = tree.make_folder(Tree::ROOT, "folder").unwrap();
        tree.hold(folder);
        tree.remove_folder(&place(Tree::ROOT, "folder")).unwrap();

        assert_eq!(tree.make_file(folder, "file"), Err(Problem::NotFound));
        tree.release(folder);
    }

    #[test]
    fn a_folder_does_not_go_into_itself() {
        let mut tree = tree();
        let outer = tree.make_folder(Tree::ROOT, "outer").unwrap();
        let inner = tree.make_folder(outer, "inner").unwrap();

        let moved = tree.rename(&place(Tree::ROOT, "outer"), &place(inner, "outer"));

        assert_eq!(moved, Err(Problem::Invalid));
    }

    #[test]
    fn a_rename_replaces_what_is_there_as_posix_has_it() {
        let mut tree = tree();
        let file = tree.make_file(Tree::ROOT, "file").unwrap();
        tree.make_file(Tree::ROOT, "other").unwrap();
        let folder = tree.make_folder(Tree::ROOT, "folder").unwrap();
        tree.make_file(folder, "inside").unwrap();

        assert_eq!(
            tree.rename(&place(0, "file"), &place(0, "folder")),
            Err(Problem::IsFolder)
        );
        assert_eq!(
            tree.rename(&place(0, "folder"), &place(0, "file")),
            Err(Problem::NoFolder)
        );
        assert_eq!(tree.rename(&place(0, "file"), &place(0, "other")), Ok(()));

        assert_eq!(tree.entries(0).unwrap().get("other"), Some(file));
        assert_eq!(tree.entries(0).unwrap().ids().count(), 2);
    }

    #[test]
    fn the_number_of_files_is_bounded_by_the_disk() {
        let mut tree = tree();
        let mut made = 0;

        let problem = loop {
            match tree.make_file(Tree::ROOT, &format!("file-{made}")) {
                Ok(_) => made += 1,
                Err(problem) => break problem,
            }
        };

        assert_eq!(problem, Problem::DiskFull);
        assert_eq!(made, DISK / NODE_BYTES);
    }
}
