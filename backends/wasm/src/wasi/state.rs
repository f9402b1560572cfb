//! What a store holds for its program.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use tokio::time::Instant;
use vulcan_api::LogStream;
use vulcan_backend::LogSink;

use crate::{
    budget::Limiter,
    files::{Disk, Problem},
    meter::Meter,
    output::Output,
};

use super::{
    abi::Called,
    descriptors::{Descriptor, Descriptors, Target},
    memory::Memory,
};

/// The data of a store.
pub(crate) struct State {
    pub(crate) limiter: Limiter,
    pub(crate) wasi: Wasi,
}

/// What a program gets at its start.
pub(crate) struct WasiParts {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) meter: Arc<Meter>,
}

/// The world of one program.
pub(crate) struct Wasi {
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) input: Bytes,
    pub(super) output: Output,
    pub(super) errors: Output,
    pub(super) descriptors: Descriptors,
    pub(super) disk: Arc<Disk>,
    pub(super) meter: Arc<Meter>,
    pub(super) began: Instant,
    /// What a handler said of its failure.
    pub(super) failure: Option<String>,
}

impl Wasi {
    /// Makes the world of a program with its three streams and the folders that it finds.
    pub(crate) fn new(parts: WasiParts, input: Bytes, sink: &LogSink) -> Self {
        let mut wasi = Self {
            args: parts.args,
            env: parts.env,
            input,
            output: Output::new(LogStream::Stdout, sink.clone()),
            errors: Output::new(LogStream::Stderr, sink.clone()),
            descriptors: Descriptors::default(),
            disk: parts.disk,
            meter: parts.meter,
            began: Instant::now(),
            failure: None,
        };
        wasi.give();
        wasi
    }

    /// Whatever has no folder of its own is looked up in /work: it is the working directory.
    fn give(&mut self) {
        let (work, tmp) = (self.disk.work, self.disk.tmp);
        let mut tree = self.disk.lock();
        for folder in [work, tmp, work] {
            tree.hold(folder);
        }
        drop(tree);
        for descriptor in [
            Descriptor::stream(Target::Input),
            Descriptor::stream(Target::Output),
            Descriptor::stream(Target::Errors),
            Descriptor::given(work, "/work"),
            Descriptor::given(tmp, "/tmp"),
            Descriptor::given(work, "."),
        ] {
            // Six fit.
            let _ = self.descriptors.open(descriptor);
        }
    }

    /// Keeps what is written to standard output, as what may be the result.
    pub(crate) fn capture(&mut self, bytes_max: usize) {
        self.output.capture(bytes_max);
    }

    /// Begins another call of the same program.
    pub(crate) fn begin_call(&mut self, input: Bytes, sink: &LogSink) {
        self.input = input;
        self.output = Output::new(LogStream::Stdout, sink.clone());
        self.errors = Output::new(LogStream::Stderr, sink.clone());
        self.failure = None;
    }

    /// Ends a call: nothing of it is held until the next one.
    pub(crate) fn end_call(&mut self) {
        self.input = Bytes::new();
        self.output.close();
        self.errors.close();
    }

    pub(crate) fn stdout(&mut self) -> &mut Output {
        &mut self.output
    }

    pub(crate) fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    pub(super) fn release(&self, descriptor: &Descriptor) {
        if let Target::Node(node) = descriptor.target {
            self.disk.lock().release(node);
        }
    }
}

impl Drop for Wasi {
    fn drop(&mut self) {
        let disk = Arc::clone(&self.disk);
        let mut tree = disk.lock();
        for descriptor in self.descriptors.drain() {
            if let Target::Node(node) = descriptor.target {
                tree.release(node);
            }
        }
    }
}

/// A call in progress: the program's memory, and its world.
pub(super) struct Guest<'a> {
    pub(super) memory: Memory<'a>,
    pub(super) wasi: &'a mut Wasi,
}

impl Guest<'_> {
    /// Runs something on the file system, with the clock set.
    pub(super) fn with_tree<T>(
        &mut self,
        act: impl FnOnce(&mut crate::files::Tree) -> Result<T, Problem>,
    ) -> Called<T> {
        let mut tree = self.wasi.disk.lock();
        tree.set_clock(super::process::real_time());
        Ok(act(&mut tree)?)
    }
}

/// The program ended itself with this code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) i32);

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the program ended with exit code {}", self.0)
    }
}

impl std::error::Error for Exit {}

/// A file needed more memory than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfMemory;

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the program's files need more memory than it has")
    }
}

impl std::error::Error for OutOfMemory {}
