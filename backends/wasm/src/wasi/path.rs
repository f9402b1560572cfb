//! What is done to paths. A path is looked up below an open folder, and never leads above it.
#![expect(clippy::too_many_arguments, reason = "the interface has as many")]

use crate::files::{Follow, Found, Kind, NodeId};

use super::{
    abi::{
        Called, Errno, LOOKUP_FOLLOW, OFLAG_CREAT, OFLAG_DIRECTORY, OFLAG_EXCL, OFLAG_TRUNC, RIGHT_FD_READ,
        RIGHT_FD_WRITE,
    },
    descriptors::{Descriptor, Target},
    file::{checked_flags, put_stat, set_times},
    state::Guest,
};

/// What a program wants of an opened file.
#[derive(Debug, Clone, Copy)]
struct Wish {
    how: u32,
    follow: Follow,
    writes: bool,
}

pub(super) fn path_open(
    guest: &mut Guest<'_>,
    folder: u32,
    lookup: u32,
    path: u32,
    path_len: u32,
    how: u32,
    rights: u64,
    _inherited: u64,
    flags: u32,
    into: u32,
) -> Called {
    let base = base(guest, folder)?;
    let flags = checked_flags(flags)?;
    if guest.wasi.descriptors.is_full() {
        return Err(Errno::MFile.into());
    }
    let wish = Wish {
        how,
        // Whoever wants a file of his own does not want the one behind a link.
        follow: if how & OFLAG_EXCL == 0 {
            follow(lookup)
        } else {
            Follow::Not
        },
        writes: rights & RIGHT_FD_WRITE != 0,
    };
    let path = guest.memory.path(path, path_len)?.to_owned();
    let node = opened(guest, base, &path, wish)?;
    guest.wasi.disk.lock().hold(node);
    let fd = guest.wasi.descriptors.open(Descriptor {
        target: Target::Node(node),
        position: 0,
        flags,
        reads: rights & RIGHT_FD_READ != 0,
        writes: wish.writes,
        given_as: None,
    })?;
    guest.memory.put_u32(into, fd)
}

fn opened(guest: &mut Guest<'_>, base: NodeId, path: &str, wish: Wish) -> Called<NodeId> {
    let wants = |flag: u32| wish.how & flag != 0;
    let found = guest.with_tree(|tree| tree.find(base, path, wish.follow))?;
    let node = match found {
        Found::Free(_) if !wants(OFLAG_CREAT) => return Err(Errno::NoEnt.into()),
        Found::Free(_) if wants(OFLAG_DIRECTORY) => return Err(Errno::Inval.into()),
        Found::Node(_) if wants(OFLAG_CREAT) && wants(OFLAG_EXCL) => return Err(Errno::Exist.into()),
        found @ (Found::Free(_) | Found::Node(_)) => guest.with_tree(|tree| tree.found_or_made(found))?,
    };
    guest.with_tree(|tree| {
        let is_folder = match tree.kind(node) {
            Kind::Folder(_) => true,
            Kind::File(_) => false,
            Kind::Link(_) => return Err(crate::files::Problem::Loop),
        };
        if wants(OFLAG_DIRECTORY) && !is_folder {
            return Err(crate::files::Problem::NoFolder);
        }
        if is_folder && wish.writes && !wants(OFLAG_DIRECTORY) {
            return Err(crate::files::Problem::IsFolder);
        }
        if wants(OFLAG_TRUNC) {
            tree.set_len(node, 0)?;
        }
        Ok(node)
    })
}

pub(super) fn path_create_directory(guest: &mut Guest<'_>, folder: u32, path: u32, len: u32) -> Called {
    let base = base(guest, folder)?;
    let path = guest.memory.path(path, len)?.to_owned();
    guest.with_tree(|tree| match tree.find(base, &path, Follow::Not)? {
        Found::Node(_) => Err(crate::files::Problem::Exists),
        Found::Free(place) => tree.make_folder(place.folder, &place.name).map(drop),
    })
}

pub(super) fn path_filestat_get(
    guest: &mut Guest<'_>,
    folder: u32,
    lookup: u32,
    path: u32,
    len: u32,
    into: u32,
) -> Called {
    let node = found(guest, folder, lookup, path, len)?;
    put_stat(guest, node, into)
}

pub(super) fn path_filestat_set_times(
    guest: &mut Guest<'_>,
    folder: u32,
    lookup: u32,
    path: u32,
    len: u32,
    read: u64,
    written: u64,
    which: u32,
) -> Called {
    let node = found(guest, folder, lookup, path, len)?;
    set_times(guest, node, read, written, which)
}

pub(super) fn path_link(
    guest: &mut Guest<'_>,
    from_folder: u32,
    lookup: u32,
    from: u32,
    from_len: u32,
    to_folder: u32,
    to: u32,
    to_len: u32,
) -> Called {
    let node = found(guest, from_folder, lookup, from, from_len)?;
    let base = base(guest, to_folder)?;
    let to = guest.memory.path(to, to_len)?.to_owned();
    guest
        .with_tree(|tree| {
            let place = tree.find_place(base, &to)?;
            tree.link(node, place.folder, &place.name)
        })
        .map_err(|fault| match fault {
            // POSIX has a word of its own for it.
            super::abi::Fault::Errno(Errno::IsDir) => Errno::Perm.into(),
            other @ (super::abi::Fault::Errno(_) | super::abi::Fault::OutOfMemory) => other,
        })
}

pub(super) fn path_readlink(
    guest: &mut Guest<'_>,
    folder: u32,
    path: u32,
    len: u32,
    into: u32,
    into_len: u32,
    used: u32,
) -> Called {
    let node = found(guest, folder, 0, path, len)?;
    let target = match guest.wasi.disk.lock().kind(node) {
        Kind::Link(target) => target.clone(),
        Kind::File(_) | Kind::Folder(_) => return Err(Errno::Inval.into()),
    };
    let count = target.len().min(into_len as usize);
    guest.memory.put(into, &target.as_bytes()[..count])?;
    guest.memory.put_len(used, count)
}

pub(super) fn path_remove_directory(guest: &mut Guest<'_>, folder: u32, path: u32, len: u32) -> Called {
    let base = base(guest, folder)?;
    let path = guest.memory.path(path, len)?.to_owned();
    guest.with_tree(|tree| {
        let place = tree.find_place(base, &path)?;
        tree.remove_folder(&place)
    })
}

pub(super) fn path_unlink_file(guest: &mut Guest<'_>, folder: u32, path: u32, len: u32) -> Called {
    let base = base(guest, folder)?;
    let path = guest.memory.path(path, len)?.to_owned();
    guest.with_tree(|tree| {
        let place = tree.find_place(base, &path)?;
        tree.remove_file(&place)
    })
}

pub(super) fn path_rename(
    guest: &mut Guest<'_>,
    from_folder: u32,
    from: u32,
    from_len: u32,
    to_folder: u32,
    to: u32,
    to_len: u32,
) -> Called {
    let (from_base, to_base) = (base(guest, from_folder)?, base(guest, to_folder)?);
    let from = guest.memory.path(from, from_len)?.to_owned();
    let to = guest.memory.path(to, to_len)?.to_owned();
    guest.with_tree(|tree| {
        let (from, to) = (tree.find_place(from_base, &from)?, tree.find_place(to_base, &to)?);
        tree.rename(&from, &to)
    })
}

pub(super) fn path_symlink(
    guest: &mut Guest<'_>,
    target: u32,
    target_len: u32,
    folder: u32,
    path: u32,
    len: u32,
) -> Called {
    let base = base(guest, folder)?;
    let target = guest.memory.path(target, target_len)?.to_owned();
    let path = guest.memory.path(path, len)?.to_owned();
    guest.with_tree(|tree| {
        let place = tree.find_place(base, &path)?;
        tree.make_link(place.folder, &place.name, &target).map(drop)
    })
}

fn found(guest: &mut Guest<'_>, folder: u32, lookup: u32, path: u32, len: u32) -> Called<NodeId> {
    let base = base(guest, folder)?;
    let path = guest.memory.path(path, len)?.to_owned();
    guest.with_tree(|tree| tree.find_node(base, &path, follow(lookup)))
}

fn base(guest: &Guest<'_>, fd: u32) -> Called<NodeId> {
    let node = guest
        .wasi
        .descriptors
        .get(fd)?
        .node()
        .map_err(|_| Errno::NotDir)?;
    guest.wasi.disk.lock().entries(node)?;
    Ok(node)
}

const fn follow(lookup: u32) -> Follow {
    if lookup & LOOKUP_FOLLOW == 0 {
        Follow::Not
    } else {
        Follow::Last
    }
}
