//! Paths of a guest: looked up name by name, never above the folder that they start from.

use super::{
    node::{Kind, NodeId},
    quota::Problem,
    tree::Tree,
};

/// The longest path (PATH_MAX of Linux).
const PATH_BYTES_MAX: usize = 4096;
/// The longest name (NAME_MAX of Linux).
const NAME_BYTES_MAX: usize = 255;
/// How many links are followed on one way (MAXSYMLINKS of Linux).
const LINKS_MAX: usize = 40;

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// To a node.
    Node(NodeId),
    /// To a name that is free in a folder.
    Free(Place),
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) folder: NodeId,
    pub(crate) name: String,
    /// Whether the path said with a `/` at its end that it means a folder.
    pub(crate) must_be_folder: bool,
}

/// The way that is still to be gone: names, the next one last.
struct Way {
    stack: Vec<NodeId>,
    left: Vec<String>,
    links: usize,
}

impl Tree {
    /// Follows a path to the end; a link at the end too where `follow` says so.
    pub(crate) fn find(&self, base: NodeId, path: &str, follow: Follow) -> Result<Found, Problem> {
        let mut way = Way::new(base, path)?;
        let must_be_folder = path.ends_with('/');
        while let Some(name) = way.left.pop() {
            let folder = way.here();
            let is_last = way.left.is_empty();
            if name == ".." {
                way.up()?;
                continue;
            }
            let Some(node) = self.entries(folder)?.get(&name) else {
                return if is_last {
                    Ok(Found::Free(Place {
                        folder,
                        name,
                        must_be_folder,
                    }))
                } else {
                    Err(Problem::NotFound)
                };
            };
            match self.kind(node) {
                Kind::Link(target) if !is_last || must_be_folder || follow == Follow::Last => {
                    way.follow(target)?;
                }
                Kind::Folder(_) => way.stack.push(node),
                Kind::File(_) | Kind::Link(_) if is_last && !must_be_folder => return Ok(Found::Node(node)),
                Kind::File(_) | Kind::Link(_) => return Err(Problem::NoFolder),
            }
        }
        Ok(Found::Node(way.here()))
    }

    /// Follows a path to something that must be there.
    pub(crate) fn find_node(&self, base: NodeId, path: &str, follow: Follow) -> Result<NodeId, Problem> {
        match self.find(base, path, follow)? {
            Found::Node(node) => Ok(node),
            Found::Free(_) => Err(Problem::NotFound),
        }
    }

    /// Follows a path to the folder of its last name, whether there is something under that name or not.
    pub(crate) fn find_place(&self, base: NodeId, path: &str) -> Result<Place, Problem> {
        let trimmed = path.trim_end_matches('/');
        let (parent, name) = trimmed
            .rsplit_once('/')
            .map_or(("", trimmed), |(parent, name)| (parent, name));
        if path.starts_with('/') {
            return Err(Problem::LeadsOut);
        }
        check_name(name)?;
        if matches!(name, "" | "." | "..") {
            return Err(Problem::Invalid);
        }
        let folder = if parent.is_empty() {
            base
        } else {
            self.find_node(base, parent, Follow::Last)?
        };
        self.entries(folder)?;
        Ok(Place {
            folder,
            name: name.to_owned(),
            must_be_folder: path.ends_with('/'),
        })
    }
}

/// Whether a link at the end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    /// It is.
    Last,
    /// The link itself is meant.
    Not,
}

impl Way {
    fn new(base: NodeId, path: &str) -> Result<Self, Problem> {
        if path.is_empty() {
            return Err(Problem::NotFound);
        }
        let mut way = Self {
            stack: vec![base],
            left: Vec::new(),
            links: 0,
        };
        way.add(path)?;
        Ok(way)
    }

    fn add(&mut self, path: &str) -> Result<(), Problem> {
        if path.len() > PATH_BYTES_MAX {
            return Err(Problem::NameTooLong);
        }
        if path.starts_with('/') {
            return Err(Problem::LeadsOut);
        }
        for name in path.rsplit('/').filter(|name| !matches!(*name, "" | ".")) {
            check_name(name)?;
            self.left.push(name.to_owned());
        }
        Ok(())
    }

    fn here(&self) -> NodeId {
        *self.stack.last().expect("nothing goes above the first folder")
    }

    fn up(&mut self) -> Result<(), Problem> {
        if self.stack.len() == 1 {
            return Err(Problem::LeadsOut);
        }
        self.stack.pop();
        Ok(())
    }

    fn follow(&mut self, target: &str) -> Result<(), Problem> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Problem::Loop);
        }
        self.add(target)
    }
}

pub(super) fn check_name(name: &str) -> Result<(), Problem> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Problem::NameTooLong);
    }
    if name.contains('\0') {
        return Err(Problem::Invalid);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tree::tests::tree;

    #[test]
    fn a_path_never_climbs_above_its_folder() {
        let mut tree = tree();
        let work = tree.make_folder(Tree::ROOT, "work").unwrap();
        tree.make_folder(work, "sub").unwrap();
        tree.make_link(work, "up", "../..").unwrap();
        tree.make_link(work, "absolute", "/etc/passwd").unwrap();

        for path in [
            "..",
            "../work",
            "sub/../../x",
            "/etc/passwd",
            "/work",
            "up",
            "up/x",
            "absolute",
            "sub/../../../../../../etc/passwd",
        ] {
            assert_eq!(
                tree.find(work, path, Follow::Last),
                Err(Problem::LeadsOut),
                "{path}"
            );
        }
        assert_eq!(tree.find_node(work, "sub/..", Follow::Last), Ok(work));
    }

    #[test]
    fn links_in_a_circle_end() {
        let mut tree = tree();
        tree.make_link(Tree::ROOT, "a", "b").unwrap();
        tree.make_link(Tree::ROOT, "b", "a").unwrap();

        assert_eq!(tree.find(Tree::ROOT, "a", Follow::Last), Err(Problem::Loop));
        assert_eq!(tree.find(Tree::ROOT, "a/x", Follow::Not), Err(Problem::Loop));
        assert!(tree.find_node(Tree::ROOT, "a", Follow::Not).is_ok());
    }

    #[test]
    fn names_and_paths_have_a_longest() {
        let tree = tree();

        let name = "x".repeat(NAME_BYTES_MAX + 1);
        assert_eq!(
            tree.find(Tree::ROOT, &name, Follow::Last),
            Err(Problem::NameTooLong)
        );
        let path = "x/".repeat(PATH_BYTES_MAX);
        assert_eq!(
            tree.find(Tree::ROOT, &path, Follow::Last),
            Err(Problem::NameTooLong)
        );
        assert_eq!(tree.find(Tree::ROOT, "a\0b", Follow::Last), Err(Problem::Invalid));
    }

    #[test]
    fn a_file_is_no_folder() {
        let mut tree = tree();
        tree.make_file(Tree::ROOT, "file").unwrap();

        for path in ["file/", "file/x", "file/."] {
            let found = tree.find(Tree::ROOT, path, Follow::Last);
            assert!(
                matches!(found, Err(Problem::NoFolder) | Ok(Found::Node(_))),
                "{path}: {found:?}"
            );
        }
        assert_eq!(
            tree.find(Tree::ROOT, "file/", Follow::Last),
            Err(Problem::NoFolder)
        );
        assert_eq!(
            tree.find(Tree::ROOT, "file/x", Follow::Last),
            Err(Problem::NoFolder)
        );
    }
}
