//! The calls that wait: output for the log's reader, and polls for time to pass.

use std::time::Duration;

use bytes::Bytes;
use wasmtime::Caller;

use crate::output::CHUNK_BYTES_MAX;

use super::{
    abi::{Called, Errno},
    descriptors::Target,
    file::{gather, write_file},
    offer::{ended, with_guest},
    process::{real_time, time},
    state::{Guest, State},
};

/// More things than one poll may wait for.
const SUBSCRIPTIONS_MAX: u32 = 1024;
const SUBSCRIPTION_BYTES: u32 = 48;
const EVENT_BYTES: u32 = 32;
const ABSOLUTE: u16 = 1;

/// What a write is for.
enum Written {
    /// A file, and so many bytes are in it.
    File(usize),
    /// A stream.
    Stream(Target, Bytes),
}

pub(super) async fn fd_write(
    caller: &mut Caller<'_, State>,
    fd: u32,
    list: u32,
    count: u32,
    into: u32,
) -> wasmtime::Result<i32> {
    let mut written = None;
    let code = with_guest(caller, |guest| {
        written = Some(begin_write(guest, fd, list, count)?);
        Ok(())
    })?;
    let done = match written {
        None => return Ok(code),
        Some(Written::File(done)) => done,
        Some(Written::Stream(target, bytes)) => {
            let len = bytes.len();
            let wasi = &mut caller.data_mut().wasi;
            let stream = if target == Target::Errors {
                &mut wasi.errors
            } else {
                &mut wasi.output
            };
            if len > 0 {
                stream.write(bytes).await;
            }
            len
        }
    };
    with_guest(caller, |guest| guest.memory.put_len(into, done))
}

fn begin_write(guest: &mut Guest<'_>, fd: u32, list: u32, count: u32) -> Called<Written> {
    match guest.wasi.descriptors.get(fd)?.target {
        Target::Node(_) => write_file(guest, fd, list, count).map(Written::File),
        Target::Input => Err(Errno::BadF.into()),
        target @ (Target::Output | Target::Errors) => {
            let pieces = guest.memory.pieces(list, count)?;
            let bytes = gather(&guest.memory, &pieces, CHUNK_BYTES_MAX)?;
            Ok(Written::Stream(target, bytes.into()))
        }
    }
}

/// What a program waits for.
#[derive(Debug, Clone, Copy)]
struct Subscription {
    name: u64,
    wait: Wait,
}

#[derive(Debug, Clone, Copy)]
enum Wait {
    /// So long from now.
    Time(Duration),
    /// Ready at once, with so many bytes, as a reading or a writing.
    Ready(u8, u64),
    /// It cannot be waited for.
    Failed(u8, Errno),
}

pub(super) async fn poll_oneoff(
    caller: &mut Caller<'_, State>,
    list: u32,
    events: u32,
    count: u32,
    into: u32,
) -> wasmtime::Result<i32> {
    let mut waited_for = Vec::new();
    let code = with_guest(caller, |guest| {
        waited_for = subscriptions(guest, list, count)?;
        guest.memory.bytes(events, count * EVENT_BYTES)?;
        Ok(())
    })?;
    if code != 0 {
        return Ok(code);
    }
    let shortest = waited_for
        .iter()
        .filter_map(|subscription| match subscription.wait {
            Wait::Time(time) => Some(time),
            Wait::Ready(..) | Wait::Failed(..) => None,
        });
    let is_ready = waited_for
        .iter()
        .any(|subscription| !matches!(subscription.wait, Wait::Time(_)));
    let pause = shortest.min().filter(|_| !is_ready).unwrap_or_default();
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
    with_guest(caller, |guest| {
        let mut at = events;
        let mut told: u32 = 0;
        for subscription in &waited_for {
            if let Some(event) = event(subscription, pause) {
                guest.memory.put(at, &event)?;
                at += EVENT_BYTES;
                told += 1;
            }
        }
        guest.memory.put_u32(into, told)
    })
}

fn subscriptions(guest: &Guest<'_>, list: u32, count: u32) -> Called<Vec<Subscription>> {
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return Err(Errno::Inval.into());
    }
    guest.memory.bytes(list, count * SUBSCRIPTION_BYTES)?;
    (0..count)
        .map(|index| subscription(guest, list + index * SUBSCRIPTION_BYTES))
        .collect()
}

fn subscription(guest: &Guest<'_>, at: u32) -> Called<Subscription> {
    let memory = &guest.memory;
    let name = memory.u64(at)?;
    let wait = match memory.bytes(at + 8, 1)?[0] {
        0 => {
            let flags = memory.bytes(at + 40, 2)?;
            let flags = u16::from_le_bytes([flags[0], flags[1]]);
            let (clock, timeout) = (memory.u32(at + 16)?, memory.u64(at + 24)?);
            let nanos = if flags & ABSOLUTE == 0 {
                timeout
            } else {
                timeout.saturating_sub(if clock == 0 {
                    real_time()
                } else {
                    time(guest, clock)?
                })
            };
            Wait::Time(Duration::from_nanos(nanos))
        }
        kind @ (1 | 2) => readiness(guest, kind, memory.u32(at + 16)?),
        _ => return Err(Errno::Inval.into()),
    };
    Ok(Subscription { name, wait })
}

fn readiness(guest: &Guest<'_>, kind: u8, fd: u32) -> Wait {
    let Ok(descriptor) = guest.wasi.descriptors.get(fd) else {
        return Wait::Failed(kind, Errno::BadF);
    };
    match (descriptor.target, kind) {
        (Target::Input, 1) => Wait::Ready(kind, guest.wasi.input.len() as u64),
        (Target::Output | Target::Errors, 2) => Wait::Ready(kind, CHUNK_BYTES_MAX as u64),
        (Target::Node(_), _) => Wait::Ready(kind, 1),
        (Target::Input | Target::Output | Target::Errors, _) => Wait::Failed(kind, Errno::BadF),
    }
}

fn event(subscription: &Subscription, paused: Duration) -> Option<[u8; EVENT_BYTES as usize]> {
    let mut event = [0; EVENT_BYTES as usize];
    event[..8].copy_from_slice(&subscription.name.to_le_bytes());
    match subscription.wait {
        Wait::Time(time) if time > paused => return None,
        Wait::Time(_) => {}
        Wait::Ready(kind, bytes) => {
            event[10] = kind;
            event[16..24].copy_from_slice(&bytes.to_le_bytes());
        }
        Wait::Failed(kind, errno) => {
            event[8..10].copy_from_slice(&(errno as u16).to_le_bytes());
            event[10] = kind;
        }
    }
    Some(event)
}

/// Lets others go first.
pub(super) async fn sched_yield(_caller: &mut Caller<'_, State>) -> wasmtime::Result<i32> {
    tokio::task::yield_now().await;
    Ok(0)
}

/// Writes to the log for modules that know nothing of WASI.
pub(super) async fn log(
    caller: &mut Caller<'_, State>,
    stream: u32,
    at: u32,
    len: u32,
) -> wasmtime::Result<()> {
    let (mut at, mut len) = (at, len);
    while len > 0 {
        let count = len.min(u32::try_from(CHUNK_BYTES_MAX).unwrap_or(u32::MAX));
        let mut bytes = Vec::new();
        ended(with_guest(caller, |guest| {
            bytes = guest.memory.bytes(at, count)?.to_vec();
            Ok(())
        })?)?;
        let wasi = &mut caller.data_mut().wasi;
        let output = if stream == 2 {
            &mut wasi.errors
        } else {
            &mut wasi.output
        };
        output.write(bytes.into()).await;
        (at, len) = (at + count, len - count);
    }
    Ok(())
}
