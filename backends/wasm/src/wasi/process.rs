//! Arguments, environment, time and randomness.

use rustix::time::{ClockId, clock_gettime};

use super::{
    abi::{Called, Errno},
    memory::Memory,
    state::Guest,
};

/// The most random bytes of one call; a program that wants more asks again.
const RANDOM_BYTES_MAX: u32 = 1024 * 1024;
/// What clocks tell apart, in nanoseconds.
const RESOLUTION_NS: u64 = 1_000;

const CLOCK_REAL: u32 = 0;
const CLOCK_MONOTONIC: u32 = 1;
const CLOCK_PROCESS: u32 = 2;
const CLOCK_THREAD: u32 = 3;

pub(super) fn args_sizes_get(guest: &mut Guest<'_>, count: u32, size: u32) -> Called {
    put_sizes(&mut guest.memory, &guest.wasi.args, count, size)
}

pub(super) fn args_get(guest: &mut Guest<'_>, list: u32, texts: u32) -> Called {
    put_texts(&mut guest.memory, &guest.wasi.args, list, texts)
}

pub(super) fn environ_sizes_get(guest: &mut Guest<'_>, count: u32, size: u32) -> Called {
    put_sizes(&mut guest.memory, &guest.wasi.env, count, size)
}

pub(super) fn environ_get(guest: &mut Guest<'_>, list: u32, texts: u32) -> Called {
    put_texts(&mut guest.memory, &guest.wasi.env, list, texts)
}

fn put_sizes(memory: &mut Memory<'_>, texts: &[String], count: u32, size: u32) -> Called {
    memory.put_len(count, texts.len())?;
    memory.put_len(size, texts.iter().map(|text| text.len() + 1).sum())
}

/// Puts texts, each with a NUL behind, and a list of where they are.
fn put_texts(memory: &mut Memory<'_>, texts: &[String], list: u32, at: u32) -> Called {
    let (mut list, mut at) = (list, at);
    for text in texts {
        memory.put_u32(list, at)?;
        memory.put(at, text.as_bytes())?;
        let end = advance(at, text.len())?;
        memory.put(end, &[0])?;
        (list, at) = (advance(list, 4)?, advance(end, 1)?);
    }
    Ok(())
}

fn advance(at: u32, by: usize) -> Called<u32> {
    let by = u32::try_from(by).map_err(|_| Errno::Overflow)?;
    Ok(at.checked_add(by).ok_or(Errno::Overflow)?)
}

pub(super) fn clock_res_get(guest: &mut Guest<'_>, clock: u32, into: u32) -> Called {
    if clock > CLOCK_THREAD {
        return Err(Errno::Inval.into());
    }
    guest.memory.put_u64(into, RESOLUTION_NS)
}

pub(super) fn clock_time_get(guest: &mut Guest<'_>, clock: u32, _precision: u64, into: u32) -> Called {
    let time = time(guest, clock)?;
    guest.memory.put_u64(into, time)
}

/// Returns what a clock says, in nanoseconds.
pub(super) fn time(guest: &Guest<'_>, clock: u32) -> Called<u64> {
    let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    match clock {
        CLOCK_REAL => Ok(real_time()),
        // How long the host runs is none of a program's business.
        CLOCK_MONOTONIC => Ok(nanos(guest.wasi.began.elapsed())),
        CLOCK_PROCESS | CLOCK_THREAD => Ok(nanos(guest.wasi.meter.used())),
        _ => Err(Errno::Inval.into()),
    }
}

/// Returns the time since 1970, in nanoseconds.
pub(super) fn real_time() -> u64 {
    let time = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

pub(super) fn random_get(guest: &mut Guest<'_>, into: u32, len: u32) -> Called {
    if len > RANDOM_BYTES_MAX {
        return Err(Errno::Inval.into());
    }
    let mut into = guest.memory.bytes_mut(into, len)?;
    while !into.is_empty() {
        let count = rustix::rand::getrandom(&mut *into, rustix::rand::GetRandomFlags::empty())
            .map_err(|_| Errno::NotSup)?;
        into = &mut into[count..];
    }
    Ok(())
}

/// Nobody is there to get a signal.
pub(super) fn proc_raise(_guest: &mut Guest<'_>, _signal: u32) -> Called {
    Err(Errno::NotSup.into())
}
