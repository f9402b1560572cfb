//! What a module may import, by name.

use wasmtime::{Caller, Extern, Linker};

use super::{
    abi::{Called, Errno, Fault},
    file,
    memory::Memory,
    path, process,
    state::{Exit, Guest, OutOfMemory, State},
    stream,
};

const PREVIEW_1: &str = "wasi_snapshot_preview1";
/// What the platform offers beside WASI.
const OWN: &str = "vulcan";
/// The longest text of a failure.
const FAILURE_BYTES_MAX: u32 = 8 * 1024;

/// Runs a call on the caller's memory, and returns its code for the program.
pub(super) fn with_guest(
    caller: &mut Caller<'_, State>,
    call: impl FnOnce(&mut Guest<'_>) -> Called,
) -> wasmtime::Result<i32> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        return Err(wasmtime::Error::msg(
            "the module exports no memory named 'memory'",
        ));
    };
    let (bytes, state) = memory.data_and_store_mut(caller);
    let mut guest = Guest {
        memory: Memory(bytes),
        wasi: &mut state.wasi,
    };
    match call(&mut guest) {
        Ok(()) => Ok(0),
        Err(Fault::Errno(errno)) => Ok(i32::from(errno as u16)),
        Err(Fault::OutOfMemory) => Err(OutOfMemory.into()),
    }
}

/// Turns a code into the end of the program, for calls that have no way to give one.
pub(super) fn ended(code: i32) -> wasmtime::Result<()> {
    match code {
        0 => Ok(()),
        _ => Err(wasmtime::Error::msg(
            "the text lies outside of the module's memory",
        )),
    }
}

macro_rules! offers {
    (at_once { $($name:ident($($arg:ident: $kind:ty),*) = $call:path;)+ }
     waiting { $($waiting:ident($($wait_arg:ident: $wait_kind:ty),*) = $wait:path;)+ }) => {
        /// Every function of preview 1 and of the platform, by module and name.
        pub(crate) const OFFERED: &[(&str, &str)] = &[
            $((PREVIEW_1, stringify!($name)),)+
            $((PREVIEW_1, stringify!($waiting)),)+
            (PREVIEW_1, "proc_exit"),
            (OWN, "fail"),
            (OWN, "log"),
        ];

        fn offer_preview_1(linker: &mut Linker<State>) -> wasmtime::Result<()> {
            $(linker.func_wrap(PREVIEW_1, stringify!($name), |mut caller: Caller<'_, State>, $($arg: $kind),*| {
                with_guest(&mut caller, |guest| $call(guest, $($arg),*))
            })?;)+
            $(linker.func_wrap_async(
                PREVIEW_1,
                stringify!($waiting),
                |mut caller: Caller<'_, State>, ($($wait_arg,)*): ($($wait_kind,)*)| {
                    Box::new(async move { $wait(&mut caller, $($wait_arg),*).await })
                },
            )?;)+
            Ok(())
        }
    };
}

offers! {
    at_once {
    args_get(list: u32, texts: u32) = process::args_get;
    args_sizes_get(count: u32, size: u32) = process::args_sizes_get;
    environ_get(list: u32, texts: u32) = process::environ_get;
    environ_sizes_get(count: u32, size: u32) = process::environ_sizes_get;
    clock_res_get(clock: u32, into: u32) = process::clock_res_get;
    clock_time_get(clock: u32, precision: u64, into: u32) = process::clock_time_get;
    random_get(into: u32, len: u32) = process::random_get;
    proc_raise(signal: u32) = process::proc_raise;
    fd_advise(fd: u32, at: u64, len: u64, advice: u32) = file::fd_advise;
    fd_allocate(fd: u32, at: u64, len: u64) = file::fd_allocate;
    fd_close(fd: u32) = file::fd_close;
    fd_datasync(fd: u32) = file::fd_sync;
    fd_sync(fd: u32) = file::fd_sync;
    fd_fdstat_get(fd: u32, into: u32) = file::fd_fdstat_get;
    fd_fdstat_set_flags(fd: u32, flags: u32) = file::fd_fdstat_set_flags;
    fd_fdstat_set_rights(fd: u32, rights: u64, inherited: u64) = file::fd_fdstat_set_rights;
    fd_filestat_get(fd: u32, into: u32) = file::fd_filestat_get;
    fd_filestat_set_size(fd: u32, len: u64) = file::fd_filestat_set_size;
    fd_filestat_set_times(fd: u32, read: u64, written: u64, which: u32) = file::fd_filestat_set_times;
    fd_pread(fd: u32, list: u32, count: u32, at: u64, into: u32) = file::fd_pread;
    fd_prestat_get(fd: u32, into: u32) = file::fd_prestat_get;
    fd_prestat_dir_name(fd: u32, into: u32, len: u32) = file::fd_prestat_dir_name;
    fd_pwrite(fd: u32, list: u32, count: u32, at: u64, into: u32) = file::fd_pwrite;
    fd_read(fd: u32, list: u32, count: u32, into: u32) = file::fd_read;
    fd_readdir(fd: u32, into: u32, len: u32, cookie: u64, used: u32) = file::fd_readdir;
    fd_renumber(from: u32, to: u32) = file::fd_renumber;
    fd_seek(fd: u32, by: u64, whence: u32, into: u32) = file::fd_seek;
    fd_tell(fd: u32, into: u32) = file::fd_tell;
    path_create_directory(folder: u32, path: u32, len: u32) = path::path_create_directory;
    path_filestat_get(folder: u32, lookup: u32, path: u32, len: u32, into: u32) = path::path_filestat_get;
    path_filestat_set_times(folder: u32, lookup: u32, path: u32, len: u32, read: u64, written: u64, which: u32)
        = path::path_filestat_set_times;
    path_link(from_folder: u32, lookup: u32, from: u32, from_len: u32, to_folder: u32, to: u32, to_len: u32)
        = path::path_link;
    path_open(folder: u32, lookup: u32, path: u32, len: u32, how: u32, rights: u64, inherited: u64, flags: u32, into: u32)
        = path::path_open;
    path_readlink(folder: u32, path: u32, len: u32, into: u32, into_len: u32, used: u32) = path::path_readlink;
    path_remove_directory(folder: u32, path: u32, len: u32) = path::path_remove_directory;
    path_rename(from_folder: u32, from: u32, from_len: u32, to_folder: u32, to: u32, to_len: u32) = path::path_rename;
    path_symlink(target: u32, target_len: u32, folder: u32, path: u32, len: u32) = path::path_symlink;
    path_unlink_file(folder: u32, path: u32, len: u32) = path::path_unlink_file;
    sock_accept(fd: u32, flags: u32, into: u32) = sock_accept;
    sock_recv(fd: u32, list: u32, count: u32, flags: u32, used: u32, into: u32) = sock_recv;
    sock_send(fd: u32, list: u32, count: u32, flags: u32, used: u32) = sock_send;
    sock_shutdown(fd: u32, how: u32) = sock_shutdown;
    }
    waiting {
        fd_write(fd: u32, list: u32, count: u32, into: u32) = stream::fd_write;
        poll_oneoff(list: u32, events: u32, count: u32, into: u32) = stream::poll_oneoff;
        sched_yield() = stream::sched_yield;
    }
}

/// Gives a linker all of it.
pub(crate) fn offer(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    offer_preview_1(linker)?;
    linker.func_wrap(
        PREVIEW_1,
        "proc_exit",
        |_: Caller<'_, State>, code: i32| -> wasmtime::Result<()> { Err(Exit(code).into()) },
    )?;
    linker.func_wrap(OWN, "fail", |mut caller: Caller<'_, State>, at: u32, len: u32| {
        let code = with_guest(&mut caller, |guest| {
            let text = guest.memory.bytes(at, len.min(FAILURE_BYTES_MAX))?;
            guest.wasi.failure = Some(String::from_utf8_lossy(text).into_owned());
            Ok(())
        })?;
        ended(code)
    })?;
    linker.func_wrap_async(
        OWN,
        "log",
        |mut caller: Caller<'_, State>, (stream, at, len): (u32, u32, u32)| {
            Box::new(async move { stream::log(&mut caller, stream, at, len).await })
        },
    )?;
    Ok(())
}

/// There are no sockets.
fn no_socket() -> Called {
    Err(Errno::NotSock.into())
}

fn sock_accept(_: &mut Guest<'_>, _: u32, _: u32, _: u32) -> Called {
    no_socket()
}

#[expect(clippy::too_many_arguments, reason = "the interface has as many")]
fn sock_recv(_: &mut Guest<'_>, _: u32, _: u32, _: u32, _: u32, _: u32, _: u32) -> Called {
    no_socket()
}

#[expect(clippy::too_many_arguments, reason = "the interface has as many")]
fn sock_send(_: &mut Guest<'_>, _: u32, _: u32, _: u32, _: u32, _: u32) -> Called {
    no_socket()
}

fn sock_shutdown(_: &mut Guest<'_>, _: u32, _: u32) -> Called {
    no_socket()
}
