//! What runs a program, instruction by instruction.

use std::{collections::BTreeMap, num::NonZeroU16, time::Duration};

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;
use vulcan_api::{ErrorCode, LogStream, WorkloadError};
use vulcan_guest_protocol::{DATA_BYTES_MAX, ExitStatus, InvokeMode};

use super::{
    backend::locked,
    instance::Inner,
    loaded::{Counter, Part},
    program::{Instruction, parse},
};
use crate::{BackendError, LogChunk, LogSink, Outcome};

/// One program with everything that belongs to its run.
pub(super) struct Job {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) compile: bool,
    pub(super) input: Bytes,
    pub(super) args: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) output_bytes_max: usize,
    pub(super) mode: InvokeMode,
    pub(super) part: Part,
}

/// How a program ended before its last line.
enum End {
    Exited(ExitStatus, Option<WorkloadError>),
    /// The handler failed, and is still there.
    Failed(WorkloadError),
    Broken(BackendError),
}

type Step = Result<(), End>;

pub(super) struct Machine<'a> {
    inner: &'a Inner,
    logs: LogSink,
    stdout: Vec<u8>,
    output: Option<Value>,
    memory_mb: u32,
    processes: u32,
    counter: Counter,
    /// How many calls at once the program takes that is loaded; none before its `handler` line.
    at_once: Option<NonZeroU16>,
    dies_afterwards: bool,
}

impl<'a> Machine<'a> {
    pub(super) fn new(inner: &'a Inner, logs: LogSink) -> Self {
        Self {
            inner,
            logs,
            stdout: Vec::new(),
            output: None,
            memory_mb: 1,
            processes: 1,
            counter: Counter::default(),
            at_once: None,
            dies_afterwards: false,
        }
    }

    /// Runs a job; the flag says that the instance is to die now.
    pub(super) async fn run(mut self, job: &Job) -> Result<(Outcome, bool), BackendError> {
        let inner = self.inner;
        let end = tokio::select! {
            end = self.steps(job) => end,
            () = inner.killed.cancelled() => return Err(inner.ended()),
        };
        let stays = !matches!(end, Err(End::Exited(..))) || job.mode == InvokeMode::Forked;
        let reusable = self.at_once.filter(|_| stays && job.part != Part::Whole);
        let (status, error) = match end {
            Ok(()) => (ExitStatus::Code(0), None),
            Err(End::Exited(status, error)) => (status, error.or_else(|| error_of(status))),
            Err(End::Failed(error)) => (ExitStatus::Code(1), Some(error)),
            Err(End::Broken(error)) => return Err(error),
        };
        let output = self.output.or_else(|| serde_json::from_slice(&self.stdout).ok());
        Ok((
            Outcome {
                reusable,
                status,
                output,
                error,
                prepared_in: Duration::ZERO,
            },
            self.dies_afterwards,
        ))
    }

    async fn steps(&mut self, job: &Job) -> Step {
        let instructions = match parse(&job.name, &job.text) {
            Ok(instructions) => instructions,
            Err(message) => {
                self.print(LogStream::Stderr, format!("{message}\n").into())
                    .await?;
                let error = (!job.compile).then(|| WorkloadError::new(ErrorCode::Exception, message));
                return Err(End::Exited(ExitStatus::Code(1), error));
            }
        };
        if job.compile {
            self.inner.store("/work/out/program", job.text.clone().into());
            return Ok(());
        }
        self.counter = locked(&self.inner.memory).counter_of_load();
        for instruction in instructions {
            if let Instruction::Handler(at_once) = instruction {
                self.at_once = Some(at_once);
                self.counter = locked(&self.inner.memory).counter(job.mode);
            } else if job.part == Part::Call && self.at_once.is_none() {
                continue;
            }
            locked(&self.inner.usage).cpu_ms += 0.01;
            self.step(instruction, job).await?;
        }
        Ok(())
    }

    async fn step(&mut self, instruction: Instruction, job: &Job) -> Step {
        match instruction {
            Instruction::Exit(code) => Err(End::Exited(ExitStatus::Code(code), None)),
            Instruction::Signal(signal) => Err(End::Exited(ExitStatus::Signal(signal), None)),
            Instruction::Print { stream, bytes } => self.print(stream, bytes.into()).await,
            Instruction::Flood { stream, bytes } => self.flood(stream, bytes).await,
            Instruction::Output(json) => self.give(json.as_bytes(), job.output_bytes_max),
            Instruction::EchoInput => self.give(&job.input, job.output_bytes_max),
            Instruction::Args => {
                self.print(LogStream::Stdout, (job.args.join("\n") + "\n").into())
                    .await
            }
            Instruction::Env(name) => {
                let value = job.env.get(&name).map_or("", String::as_str);
                self.print(LogStream::Stdout, format!("{value}\n").into()).await
            }
            Instruction::Sleep(duration) => self.idle(duration).await,
            Instruction::Hang => self.idle(Duration::MAX).await,
            Instruction::Spin => self.spin().await,
            Instruction::Allocate(mib) => self.allocate(mib),
            Instruction::Fork(count) => self.fork(count).await,
            Instruction::Throw(message) => {
                let stack = Some(format!("{}: {message}", job.name));
                let error = WorkloadError {
                    code: ErrorCode::Exception,
                    message,
                    stack,
                };
                Err(End::Failed(error))
            }
            Instruction::Handler(_) => Ok(()),
            Instruction::Count => {
                self.output = Some(self.counter.next().into());
                Ok(())
            }
            Instruction::SayInput => {
                let text: String = serde_json::from_slice(&job.input).unwrap_or_default();
                self.print(LogStream::Stdout, format!("{text}\n").into()).await
            }
            Instruction::When(word, then) => {
                let text: Option<String> = serde_json::from_slice(&job.input).ok();
                if text.is_some_and(|text| text == word) {
                    Box::pin(self.step(*then, job)).await?;
                }
                Ok(())
            }
            Instruction::DieAfterwards => {
                self.dies_afterwards = true;
                Ok(())
            }
            Instruction::Write { path, text } => self.write(&path, text.into()).await,
            Instruction::Fill { path, mib } => self.fill(&path, mib).await,
            Instruction::Read(path) => self.read(&path).await,
            Instruction::Connect(address) => self.fail(format!("connect {address}: refused")).await,
            Instruction::Crash => Err(End::Broken(BackendError::Lost {
                reason: "it crashed".to_owned(),
            })),
            Instruction::ProtocolError => Err(End::Broken(BackendError::Protocol {
                reason: "it sent an unknown frame".to_owned(),
            })),
        }
    }

    async fn print(&mut self, stream: LogStream, bytes: Bytes) -> Step {
        // Larger standard output is no result, only a log.
        const RESULT_BYTES_MAX: usize = 1 << 20;
        if stream == LogStream::Stdout && self.stdout.len() + bytes.len() <= RESULT_BYTES_MAX {
            self.stdout.extend_from_slice(&bytes);
        }
        // A reader that is gone is no error.
        let _ = self.logs.send(LogChunk { stream, bytes }).await;
        Ok(())
    }

    async fn flood(&mut self, stream: LogStream, bytes: usize) -> Step {
        let line: Vec<u8> = [&[b'x'; 99][..], b"\n"].concat();
        let block = Bytes::from(line.repeat(DATA_BYTES_MAX / line.len()));
        let mut left = bytes;
        while left > 0 {
            let part = block.slice(..left.min(block.len()));
            left -= part.len();
            self.print(stream, part).await?;
        }
        Ok(())
    }

    fn give(&mut self, json: &[u8], bytes_max: usize) -> Step {
        if json.len() > bytes_max {
            let message = format!("the output has {} bytes; the limit is {bytes_max}", json.len());
            return Err(failure(ErrorCode::OutputTooLarge, message));
        }
        match serde_json::from_slice(json) {
            Ok(value) => self.output = Some(value),
            Err(error) => {
                let message = format!("the output is no JSON: {error}");
                return Err(End::Failed(WorkloadError::new(ErrorCode::OutputInvalid, message)));
            }
        }
        Ok(())
    }

    async fn idle(&self, duration: Duration) -> Step {
        tokio::select! {
            () = tokio::time::sleep(duration) => Ok(()),
            () = self.inner.terminated.cancelled() => Err(End::Broken(BackendError::Stopped)),
        }
    }

    async fn spin(&self) -> Step {
        let mut seen = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = Instant::now();
            locked(&self.inner.usage).cpu_ms += (now - seen).as_secs_f64() * 1e3;
            seen = now;
        }
    }

    fn allocate(&mut self, mib: u32) -> Step {
        let limit = self.inner.resources.mem_mb;
        self.memory_mb = self.memory_mb.saturating_add(mib);
        let mut usage = locked(&self.inner.usage);
        let peak = f64::from(self.memory_mb.min(limit));
        usage.mem_peak_mb = usage.mem_peak_mb.map(|former| former.max(peak));
        if self.memory_mb <= limit {
            return Ok(());
        }
        let message = format!("the program needed more than its {limit} MiB of memory");
        let error = WorkloadError::new(ErrorCode::OutOfMemory, message);
        Err(End::Exited(ExitStatus::Signal(9), Some(error)))
    }

    async fn fork(&mut self, count: u32) -> Step {
        self.processes = self.processes.saturating_add(count);
        if self.processes <= self.inner.resources.pids {
            return Ok(());
        }
        self.fail("fork: resource temporarily unavailable".to_owned())
            .await
    }

    async fn write(&mut self, path: &str, bytes: Bytes) -> Step {
        if self.inner.store(path, bytes) {
            return Ok(());
        }
        self.fail(format!("write {path}: no space left on device")).await
    }

    /// Takes disk space without the memory to back it.
    async fn fill(&mut self, path: &str, mib: u32) -> Step {
        let fits = {
            let mut used = locked(&self.inner.disk_used);
            *used += u64::from(mib) << 20;
            *used <= u64::from(self.inner.resources.disk_mb) << 20
        };
        if fits {
            return Ok(());
        }
        self.fail(format!("write {path}: no space left on device")).await
    }

    async fn read(&mut self, path: &str) -> Step {
        let file = locked(&self.inner.files).get(path).cloned();
        match file {
            Some(bytes) => self.print(LogStream::Stdout, bytes).await,
            None => self.fail(format!("read {path}: no such file")).await,
        }
    }

    /// Ends as a program does that meets an error it does not handle.
    async fn fail(&mut self, message: String) -> Step {
        self.print(LogStream::Stderr, format!("{message}\n").into())
            .await?;
        Err(End::Exited(ExitStatus::Code(1), None))
    }
}

fn failure(code: ErrorCode, message: String) -> End {
    End::Exited(ExitStatus::Code(1), Some(WorkloadError::new(code, message)))
}

fn error_of(status: ExitStatus) -> Option<WorkloadError> {
    match status {
        ExitStatus::Code(0) => None,
        ExitStatus::Code(code) => Some(WorkloadError::new(
            ErrorCode::ExitCode,
            format!("the program ended with exit code {code}"),
        )),
        ExitStatus::Signal(signal) => Some(WorkloadError::new(
            ErrorCode::Signal,
            format!("the program was ended by signal {signal}"),
        )),
    }
}
