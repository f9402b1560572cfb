//! Components of WASI preview 2: the same streams and limits, without files.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use tokio::{io::AsyncWrite, sync::mpsc::OwnedPermit};
use vulcan_api::{LogStream, Program, WorkloadError};
use vulcan_backend::{LogChunk, LogSink, StdoutCapture};
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{
    WasiCtx, WasiCtxView, WasiView,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamError, StreamResult, pipe::MemoryInputPipe},
};

use crate::{budget::Limiter, meter::Meter, output::CHUNK_BYTES_MAX};

/// How many resources of the host a component may hold: streams, pollables, and the like.
const RESOURCES_MAX: usize = 1024;
/// The most random bytes of one call.
const RANDOM_BYTES_MAX: u64 = 1024 * 1024;

/// The data of a component's store.
pub(crate) struct ComponentState {
    pub(crate) limiter: Limiter,
    pub(crate) meter: Arc<Meter>,
    table: ResourceTable,
    ctx: WasiCtx,
    stdout: Stream,
}

impl ComponentState {
    /// Makes the world of a program: arguments, environment, streams; no files, no network.
    pub(crate) fn new(
        limiter: Limiter,
        meter: Arc<Meter>,
        program: &Program,
        sink: &LogSink,
        output_bytes_max: usize,
    ) -> Self {
        let stdout = Stream::new(LogStream::Stdout, sink, Some(output_bytes_max));
        let stderr = Stream::new(LogStream::Stderr, sink, None);
        let args = std::iter::once(program.code.entrypoint()).chain(program.args.iter().map(String::as_str));
        let env: Vec<(&String, &String)> = program.env.iter().collect();
        let ctx = WasiCtx::builder()
            .args(&args.collect::<Vec<_>>())
            .envs(&env)
            .stdin(MemoryInputPipe::new(program.input.clone()))
            .stdout(stdout.clone())
            .stderr(stderr)
            .max_random_size(RANDOM_BYTES_MAX)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES_MAX);
        Self {
            limiter,
            meter,
            table,
            ctx,
            stdout,
        }
    }

    /// Returns the result that was written to standard output.
    ///
    /// # Errors
    ///
    /// As [`StdoutCapture::finish`].
    pub(crate) fn finish(&self) -> Result<Option<Value>, WorkloadError> {
        let capture = self.stdout.capture().take();
        capture.map_or(Ok(None), StdoutCapture::finish)
    }
}

impl WasiView for ComponentState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.ctx,
            table: &mut self.table,
        }
    }
}

/// One of a component's streams; all handles of it share what is kept.
#[derive(Clone)]
struct Stream {
    stream: LogStream,
    sink: LogSink,
    capture: Arc<Mutex<Option<StdoutCapture>>>,
    /// Room in the log that was waited for.
    room: Arc<Mutex<Option<OwnedPermit<LogChunk>>>>,
}

impl Stream {
    fn new(stream: LogStream, sink: &LogSink, capture_bytes_max: Option<usize>) -> Self {
        Self {
            stream,
            sink: sink.clone(),
            capture: Arc::new(Mutex::new(capture_bytes_max.map(StdoutCapture::new))),
            room: Arc::default(),
        }
    }

    fn capture(&self) -> std::sync::MutexGuard<'_, Option<StdoutCapture>> {
        self.capture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn room(&self) -> std::sync::MutexGuard<'_, Option<OwnedPermit<LogChunk>>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only preview 3 asks for it, which is not offered.
        Box::new(tokio::io::empty())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {
        if self.room().is_some() || self.sink.is_closed() {
            return;
        }
        if let Ok(permit) = self.sink.clone().reserve_owned().await {
            *self.room() = Some(permit);
        }
    }
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > CHUNK_BYTES_MAX {
            return Err(StreamError::trap("more was written than there is room for"));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        if let Some(capture) = self.capture().as_mut() {
            capture.push(&bytes);
        }
        let stream = self.stream;
        match self.room().take() {
            Some(permit) => drop(permit.send(LogChunk { stream, bytes })),
            // A reader that is gone is no error.
            None if self.sink.is_closed() => {}
            None => return Err(StreamError::trap("something was written where there was no room")),
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.sink.is_closed() {
            return Ok(CHUNK_BYTES_MAX);
        }
        let mut room = self.room();
        if room.is_none() {
            *room = self.sink.clone().try_reserve_owned().ok();
        }
        Ok(if room.is_some() { CHUNK_BYTES_MAX } else { 0 })
    }
}
