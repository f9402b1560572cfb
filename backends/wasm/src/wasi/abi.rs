//! The numbers of the interface.

use crate::files::Problem;

/// Why a call failed, for the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Errno {
    BadF = 8,
    Exist = 20,
    Fault = 21,
    FBig = 22,
    IlSeq = 25,
    Inval = 28,
    IsDir = 31,
    Loop = 32,
    MFile = 33,
    NameTooLong = 37,
    NoEnt = 44,
    NoSpc = 51,
    NotDir = 54,
    NotEmpty = 55,
    NotSock = 57,
    NotSup = 58,
    Overflow = 61,
    Perm = 63,
    SPipe = 70,
    NotCapable = 76,
}

/// What ends a call early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The program is told.
    Errno(Errno),
    /// The program is ended.
    OutOfMemory,
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Errno(match problem {
            Problem::OutOfMemory => return Self::OutOfMemory,
            Problem::NotFound => Errno::NoEnt,
            Problem::Exists => Errno::Exist,
            Problem::NoFolder => Errno::NotDir,
            Problem::IsFolder => Errno::IsDir,
            Problem::NotEmpty => Errno::NotEmpty,
            Problem::LeadsOut => Errno::NotCapable,
            Problem::Loop => Errno::Loop,
            Problem::NameTooLong => Errno::NameTooLong,
            Problem::Invalid => Errno::Inval,
            Problem::TooLarge => Errno::FBig,
            Problem::DiskFull => Errno::NoSpc,
        })
    }
}

pub(super) type Called<T = ()> = Result<T, Fault>;

pub(super) const FILETYPE_UNKNOWN: u8 = 0;
pub(super) const FILETYPE_DIRECTORY: u8 = 3;
pub(super) const FILETYPE_REGULAR: u8 = 4;
pub(super) const FILETYPE_LINK: u8 = 7;

pub(super) const OFLAG_CREAT: u32 = 1;
pub(super) const OFLAG_DIRECTORY: u32 = 2;
pub(super) const OFLAG_EXCL: u32 = 4;
pub(super) const OFLAG_TRUNC: u32 = 8;

pub(super) const FDFLAG_APPEND: u16 = 1;
/// All flags of descriptors there are.
pub(super) const FDFLAGS: u16 = 0x1f;

pub(super) const RIGHT_FD_READ: u64 = 1 << 1;
pub(super) const RIGHT_FD_WRITE: u64 = 1 << 6;
/// All rights there are but those of sockets.
pub(super) const RIGHTS_ALL: u64 = (1 << 28) - 1;
/// What a stream can do: read or write, be looked at, be polled.
pub(super) const RIGHTS_STREAM: u64 = (1 << 21) | (1 << 27);

pub(super) const FST_ATIM: u32 = 1;
pub(super) const FST_ATIM_NOW: u32 = 2;
pub(super) const FST_MTIM: u32 = 4;
pub(super) const FST_MTIM_NOW: u32 = 8;

pub(super) const LOOKUP_FOLLOW: u32 = 1;
