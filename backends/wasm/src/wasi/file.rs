//! What is done to an open descriptor.
#![expect(clippy::too_many_arguments, reason = "the interface has as many")]

use crate::files::{Kind, NodeId, Tree};

use super::{
    abi::{
        Called, Errno, FDFLAG_APPEND, FDFLAGS, FILETYPE_DIRECTORY, FILETYPE_LINK, FILETYPE_REGULAR,
        FILETYPE_UNKNOWN, FST_ATIM, FST_ATIM_NOW, FST_MTIM, FST_MTIM_NOW, RIGHT_FD_READ, RIGHT_FD_WRITE,
        RIGHTS_ALL, RIGHTS_STREAM,
    },
    descriptors::{Descriptor, Target},
    memory::{Memory, Piece},
    process::real_time,
    state::Guest,
};

/// How long the head of an entry in a listing is.
const ENTRY_BYTES: usize = 24;
/// The cookies of `.` and `..`; those of all others are larger.
const COOKIES_OWN: u64 = 2;

pub(super) fn fd_advise(guest: &mut Guest<'_>, fd: u32, _at: u64, _len: u64, _advice: u32) -> Called {
    guest.wasi.descriptors.get(fd)?.node().map(drop)
}

pub(super) fn fd_allocate(guest: &mut Guest<'_>, fd: u32, at: u64, len: u64) -> Called {
    let node = writable(guest, fd)?;
    guest.with_tree(|tree| tree.reserve(node, at, len))
}

pub(super) fn fd_close(guest: &mut Guest<'_>, fd: u32) -> Called {
    let descriptor = guest.wasi.descriptors.close(fd)?;
    guest.wasi.release(&descriptor);
    Ok(())
}

/// Nothing is ever behind: the files are in memory.
pub(super) fn fd_sync(guest: &mut Guest<'_>, fd: u32) -> Called {
    guest.wasi.descriptors.get(fd).map(drop)
}

pub(super) fn fd_fdstat_get(guest: &mut Guest<'_>, fd: u32, into: u32) -> Called {
    let descriptor = guest.wasi.descriptors.get(fd)?.clone();
    let (filetype, rights) = match descriptor.target {
        Target::Input => (FILETYPE_UNKNOWN, RIGHTS_STREAM | RIGHT_FD_READ),
        Target::Output | Target::Errors => (FILETYPE_UNKNOWN, RIGHTS_STREAM | RIGHT_FD_WRITE),
        Target::Node(node) => (filetype(&guest.wasi.disk.lock(), node), rights(&descriptor)),
    };
    let mut stat = [0; 24];
    stat[0] = filetype;
    stat[2..4].copy_from_slice(&descriptor.flags.to_le_bytes());
    stat[8..16].copy_from_slice(&rights.to_le_bytes());
    stat[16..24].copy_from_slice(&RIGHTS_ALL.to_le_bytes());
    guest.memory.put(into, &stat)
}

fn rights(descriptor: &Descriptor) -> u64 {
    let mut rights = RIGHTS_ALL;
    if !descriptor.reads {
        rights &= !RIGHT_FD_READ;
    }
    if !descriptor.writes {
        rights &= !RIGHT_FD_WRITE;
    }
    rights
}

pub(super) fn fd_fdstat_set_flags(guest: &mut Guest<'_>, fd: u32, flags: u32) -> Called {
    let flags = checked_flags(flags)?;
    guest.wasi.descriptors.get_mut(fd)?.flags = flags;
    Ok(())
}

pub(super) fn checked_flags(flags: u32) -> Called<u16> {
    let flags = u16::try_from(flags).map_err(|_| Errno::Inval)?;
    if flags & !FDFLAGS != 0 {
        return Err(Errno::Inval.into());
    }
    Ok(flags)
}

/// Rights can be laid down.
pub(super) fn fd_fdstat_set_rights(guest: &mut Guest<'_>, fd: u32, rights: u64, _inherited: u64) -> Called {
    let descriptor = guest.wasi.descriptors.get_mut(fd)?;
    descriptor.reads &= rights & RIGHT_FD_READ != 0;
    descriptor.writes &= rights & RIGHT_FD_WRITE != 0;
    Ok(())
}

pub(super) fn fd_filestat_get(guest: &mut Guest<'_>, fd: u32, into: u32) -> Called {
    match guest.wasi.descriptors.get(fd)?.target {
        Target::Node(node) => put_stat(guest, node, into),
        Target::Input | Target::Output | Target::Errors => guest.memory.put(into, &[0; 64]),
    }
}

pub(super) fn fd_filestat_set_size(guest: &mut Guest<'_>, fd: u32, len: u64) -> Called {
    let node = writable(guest, fd)?;
    guest.with_tree(|tree| tree.set_len(node, len))
}

pub(super) fn fd_filestat_set_times(
    guest: &mut Guest<'_>,
    fd: u32,
    read: u64,
    written: u64,
    which: u32,
) -> Called {
    let node = guest.wasi.descriptors.get(fd)?.node()?;
    set_times(guest, node, read, written, which)
}

pub(super) fn set_times(guest: &mut Guest<'_>, node: NodeId, read: u64, written: u64, which: u32) -> Called {
    let one = |given: u32, now: u32, time: u64| match (which & given != 0, which & now != 0) {
        (true, true) => Err(Errno::Inval),
        (true, false) => Ok(Some(time)),
        (false, true) => Ok(Some(real_time())),
        (false, false) => Ok(None),
    };
    let read = one(FST_ATIM, FST_ATIM_NOW, read)?;
    let written = one(FST_MTIM, FST_MTIM_NOW, written)?;
    guest.with_tree(|tree| {
        tree.set_times(node, read, written);
        Ok(())
    })
}

pub(super) fn put_stat(guest: &mut Guest<'_>, node: NodeId, into: u32) -> Called {
    let mut stat = [0; 64];
    {
        let tree = guest.wasi.disk.lock();
        let found = tree.node(node);
        let words = [
            1,
            found.number,
            u64::from(filetype(&tree, node)),
            u64::from(found.names),
            tree.len(node),
            found.times.read,
            found.times.written,
            found.times.changed,
        ];
        for (place, word) in stat.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }
    guest.memory.put(into, &stat)
}

pub(super) fn filetype(tree: &Tree, node: NodeId) -> u8 {
    match tree.kind(node) {
        Kind::File(_) => FILETYPE_REGULAR,
        Kind::Folder(_) => FILETYPE_DIRECTORY,
        Kind::Link(_) => FILETYPE_LINK,
    }
}

pub(super) fn fd_prestat_get(guest: &mut Guest<'_>, fd: u32, into: u32) -> Called {
    let path = guest.wasi.descriptors.get(fd)?.given_as.ok_or(Errno::BadF)?;
    guest.memory.put_u32(into, 0)?;
    guest.memory.put_len(into.wrapping_add(4), path.len())
}

pub(super) fn fd_prestat_dir_name(guest: &mut Guest<'_>, fd: u32, into: u32, len: u32) -> Called {
    let path = guest.wasi.descriptors.get(fd)?.given_as.ok_or(Errno::BadF)?;
    if path.len() > len as usize {
        return Err(Errno::NameTooLong.into());
    }
    guest.memory.put(into, path.as_bytes())
}

pub(super) fn fd_read(guest: &mut Guest<'_>, fd: u32, list: u32, count: u32, into: u32) -> Called {
    let descriptor = guest.wasi.descriptors.get(fd)?.clone();
    let pieces = guest.memory.pieces(list, count)?;
    let done = match descriptor.target {
        Target::Input => read_input(guest, &pieces)?,
        Target::Output | Target::Errors => return Err(Errno::BadF.into()),
        Target::Node(node) => {
            let done = read_at(guest, &descriptor, node, descriptor.position, &pieces)?;
            guest.wasi.descriptors.get_mut(fd)?.position += done as u64;
            done
        }
    };
    guest.memory.put_len(into, done)
}

pub(super) fn fd_pread(guest: &mut Guest<'_>, fd: u32, list: u32, count: u32, at: u64, into: u32) -> Called {
    let descriptor = guest.wasi.descriptors.get(fd)?.clone();
    let node = descriptor.node()?;
    let pieces = guest.memory.pieces(list, count)?;
    let done = read_at(guest, &descriptor, node, at, &pieces)?;
    guest.memory.put_len(into, done)
}

fn read_input(guest: &mut Guest<'_>, pieces: &[Piece]) -> Called<usize> {
    let mut done = 0;
    for piece in pieces {
        let input = &mut guest.wasi.input;
        let count = input.len().min(piece.len as usize);
        let bytes = input.split_to(count);
        guest.memory.put(piece.at, &bytes)?;
        done += count;
    }
    Ok(done)
}

fn read_at(
    guest: &mut Guest<'_>,
    descriptor: &Descriptor,
    node: NodeId,
    at: u64,
    pieces: &[Piece],
) -> Called<usize> {
    if !descriptor.reads {
        return Err(Errno::BadF.into());
    }
    let mut tree = guest.wasi.disk.lock();
    tree.set_clock(real_time());
    let mut done = 0;
    for piece in pieces {
        let into = guest.memory.bytes_mut(piece.at, piece.len)?;
        let count = tree.read(node, at.saturating_add(done as u64), into)?;
        done += count;
        if count < piece.len as usize {
            break;
        }
    }
    Ok(done)
}

/// Writes to a file; streams are somebody else's.
pub(super) fn write_file(guest: &mut Guest<'_>, fd: u32, list: u32, count: u32) -> Called<usize> {
    let descriptor = guest.wasi.descriptors.get(fd)?.clone();
    let node = writable(guest, fd)?;
    let pieces = guest.memory.pieces(list, count)?;
    let at = if descriptor.flags & FDFLAG_APPEND == 0 {
        descriptor.position
    } else {
        guest.wasi.disk.lock().len(node)
    };
    let done = write_at(guest, node, at, &pieces)?;
    guest.wasi.descriptors.get_mut(fd)?.position = at + done as u64;
    Ok(done)
}

pub(super) fn fd_pwrite(guest: &mut Guest<'_>, fd: u32, list: u32, count: u32, at: u64, into: u32) -> Called {
    let node = writable(guest, fd)?;
    let pieces = guest.memory.pieces(list, count)?;
    let done = write_at(guest, node, at, &pieces)?;
    guest.memory.put_len(into, done)
}

fn write_at(guest: &mut Guest<'_>, node: NodeId, at: u64, pieces: &[Piece]) -> Called<usize> {
    let mut tree = guest.wasi.disk.lock();
    tree.set_clock(real_time());
    let mut done = 0;
    for piece in pieces.iter().filter(|piece| piece.len > 0) {
        let from = guest.memory.bytes(piece.at, piece.len)?;
        let count = match tree.write(node, at.saturating_add(done as u64), from) {
            Ok(count) => count,
            Err(crate::files::Problem::DiskFull) if done > 0 => break,
            Err(problem) => return Err(problem.into()),
        };
        done += count;
        if count < from.len() {
            break;
        }
    }
    Ok(done)
}

fn writable(guest: &Guest<'_>, fd: u32) -> Called<NodeId> {
    let descriptor = guest.wasi.descriptors.get(fd)?;
    if !descriptor.writes {
        return Err(Errno::BadF.into());
    }
    descriptor.node()
}

pub(super) fn fd_readdir(
    guest: &mut Guest<'_>,
    fd: u32,
    into: u32,
    len: u32,
    cookie: u64,
    used: u32,
) -> Called {
    let folder = guest.wasi.descriptors.get(fd)?.node()?;
    let listing = {
        let tree = guest.wasi.disk.lock();
        let number = tree.node(folder).number;
        let mut listing = Vec::with_capacity(len.min(4096) as usize);
        let own = [(0, "."), (1, "..")].map(|(at, name)| (at, name, number, FILETYPE_DIRECTORY));
        let entries = tree.entries(folder)?.list(cookie.max(COOKIES_OWN));
        let named = entries.map(|(at, name, id)| (at, name, tree.node(id).number, filetype(&tree, id)));
        for (at, name, number, filetype) in own.into_iter().filter(|own| own.0 >= cookie).chain(named) {
            if listing.len() >= len as usize {
                break;
            }
            put_entry(&mut listing, at, name, number, filetype);
        }
        listing
    };
    // The last entry is cut where the room ends, which tells the program to come back.
    let count = listing.len().min(len as usize);
    guest.memory.put(into, &listing[..count])?;
    guest.memory.put_len(used, count)
}

fn put_entry(listing: &mut Vec<u8>, at: u64, name: &str, number: u64, filetype: u8) {
    let start = listing.len();
    listing.resize(start + ENTRY_BYTES, 0);
    let head = &mut listing[start..];
    head[..8].copy_from_slice(&(at + 1).to_le_bytes());
    head[8..16].copy_from_slice(&number.to_le_bytes());
    // A name has at most 255 bytes.
    let name_len = u32::try_from(name.len()).unwrap_or(0);
    head[16..20].copy_from_slice(&name_len.to_le_bytes());
    head[20] = filetype;
    listing.extend_from_slice(name.as_bytes());
}

pub(super) fn fd_renumber(guest: &mut Guest<'_>, from: u32, to: u32) -> Called {
    guest.wasi.descriptors.get(to)?;
    if from == to {
        return Ok(());
    }
    let descriptor = guest.wasi.descriptors.close(from)?;
    let replaced = guest.wasi.descriptors.replace(to, descriptor)?;
    guest.wasi.release(&replaced);
    Ok(())
}

pub(super) fn fd_seek(guest: &mut Guest<'_>, fd: u32, by: u64, whence: u32, into: u32) -> Called {
    let descriptor = guest.wasi.descriptors.get(fd)?.clone();
    let node = descriptor.node()?;
    let from = match whence {
        0 => 0,
        1 => descriptor.position,
        2 => guest.wasi.disk.lock().len(node),
        _ => return Err(Errno::Inval.into()),
    };
    let position = from.checked_add_signed(by.cast_signed()).ok_or(Errno::Inval)?;
    guest.wasi.descriptors.get_mut(fd)?.position = position;
    guest.memory.put_u64(into, position)
}

pub(super) fn fd_tell(guest: &mut Guest<'_>, fd: u32, into: u32) -> Called {
    let descriptor = guest.wasi.descriptors.get(fd)?;
    descriptor.node()?;
    let position = descriptor.position;
    guest.memory.put_u64(into, position)
}

pub(super) fn gather(memory: &Memory<'_>, pieces: &[Piece], bytes_max: usize) -> Called<Vec<u8>> {
    let mut gathered = Vec::new();
    for piece in pieces {
        let bytes = memory.bytes(piece.at, piece.len)?;
        let count = bytes.len().min(bytes_max - gathered.len());
        gathered.extend_from_slice(&bytes[..count]);
        if count < bytes.len() {
            break;
        }
    }
    Ok(gathered)
}
