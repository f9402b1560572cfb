//! One run of a program: instantiate, call, judge.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::time::Instant;
use vulcan_api::{Program, WorkloadError};
use vulcan_backend::{BackendError, Invocation, LogSink, Outcome};
use wasmtime::{
    Engine, Instance, InstancePre, Memory as LinearMemory, Store, StoreContextMut, TypedFunc, UpdateDeadline,
};
use wasmtime_wasi::p2::bindings::CommandPre;

use crate::{
    budget::{Budget, Limiter},
    component::ComponentState,
    engine::SHAPE,
    files::{Disk, Problem},
    judge::{self, CANNOT_EXECUTE, FAILED, Memory, Verdict},
    load::{Artifact, Entry},
    meter::Meter,
    wasi::{State, Wasi, WasiParts},
};

/// What a component may hand to the host in one call, in bytes about.
const CALL_BYTES_MAX: usize = 1024 * 1024;

/// What the runs of one instance share.
pub(crate) struct Ground {
    pub(crate) engine: Engine,
    pub(crate) budget: Arc<Budget>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) mem_mb: u32,
}

/// A handler in a store that is ready to be called.
pub(crate) struct Handler {
    store: Store<State>,
    memory: LinearMemory,
    alloc: TypedFunc<i32, i32>,
    handler: TypedFunc<(i32, i32), i64>,
}

/// How a call of a handler went.
pub(crate) struct Called {
    verdict: Verdict,
    output: Option<Value>,
    /// Whether its memory is as the handler left it, and not as a trap did.
    pub(crate) is_whole: bool,
}

impl Ground {
    pub(crate) fn memory(&self) -> Memory {
        Memory {
            was_refused: self.budget.has_refused(),
            mem_mb: self.mem_mb,
        }
    }

    /// Makes a store for a module.
    fn store(&self, program: &Program, sink: &LogSink) -> Store<State> {
        let parts = WasiParts {
            args: std::iter::once(program.code.entrypoint().to_owned())
                .chain(program.args.iter().cloned())
                .collect(),
            env: program
                .env
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            disk: Arc::clone(&self.disk),
            meter: Arc::clone(&self.meter),
        };
        let state = State {
            limiter: Limiter::new(Arc::clone(&self.budget), SHAPE),
            wasi: Wasi::new(parts, program.input.clone(), sink),
        };
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limiter);
        let meter = Arc::clone(&self.meter);
        store.epoch_deadline_callback(move |_: StoreContextMut<'_, State>| Ok(turn(&meter)));
        store.set_epoch_deadline(1);
        store
    }

    /// Puts the files of an archive into /work.
    pub(crate) fn mount(&self, artifact: &Artifact) -> Result<(), WorkloadError> {
        let Some(package) = &artifact.package else {
            return Ok(());
        };
        let mounted = package.mount(&mut self.disk.lock(), self.disk.work);
        mounted.map_err(|(path, problem)| {
            let why = match problem {
                Problem::DiskFull => "the disk space (resources.disk_mb) is used up".to_owned(),
                Problem::OutOfMemory => "the memory (resources.mem_mb) is used up".to_owned(),
                Problem::NoFolder => "a part of its path is no folder".to_owned(),
                other => format!("{other:?}"),
            };
            judge::exception(format!("the archive's entry '{path}' cannot be unpacked: {why}"))
        })
    }

    /// Runs something once, in a store of its own.
    pub(crate) async fn once(
        &self,
        artifact: &Artifact,
        invocation: &Invocation,
        sink: &LogSink,
        begun: Instant,
    ) -> Result<Outcome, BackendError> {
        let program = &invocation.program;
        match &artifact.entry {
            Entry::Command(command) => {
                let mut store = self.store(program, sink);
                store.data_mut().wasi.capture(invocation.output_bytes_max);
                let prepared_in = begun.elapsed();
                let ended = command_ended(&mut store, command).await;
                let verdict = self.judged(ended)?;
                Ok(script(
                    verdict,
                    store.data_mut().wasi.stdout().finish(),
                    prepared_in,
                ))
            }
            Entry::Component(component) => self.component(component, invocation, sink, begun).await,
            Entry::Handler(handler) => {
                let mut handler = match self.handler(handler, program, sink).await? {
                    Ok(handler) => handler,
                    Err(verdict) => return Ok(verdict.outcome(begun.elapsed())),
                };
                let prepared_in = begun.elapsed();
                let called = self.call(&mut handler, invocation).await?;
                Ok(called.outcome(prepared_in))
            }
        }
    }

    async fn component(
        &self,
        component: &CommandPre<ComponentState>,
        invocation: &Invocation,
        sink: &LogSink,
        begun: Instant,
    ) -> Result<Outcome, BackendError> {
        let limiter = Limiter::new(Arc::clone(&self.budget), SHAPE);
        let meter = Arc::clone(&self.meter);
        let state = ComponentState::new(
            limiter,
            meter,
            &invocation.program,
            sink,
            invocation.output_bytes_max,
        );
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(CALL_BYTES_MAX);
        store.epoch_deadline_callback(|store: StoreContextMut<'_, ComponentState>| {
            Ok(turn(&store.data().meter))
        });
        store.set_epoch_deadline(1);
        let prepared_in = begun.elapsed();
        let ended = match component.instantiate_async(&mut store).await {
            Ok(command) => command.wasi_cli_run().call_run(&mut store).await,
            Err(error) => Err(error),
        };
        let verdict = match ended {
            Ok(Ok(())) => judge::of_exit(0, self.memory()),
            Ok(Err(())) => judge::of_exit(1, self.memory()),
            Err(error) => judge::of_error(&error, self.memory())?,
        };
        Ok(script(verdict, store.data().finish(), prepared_in))
    }

    /// Instantiates a module with a handler.
    pub(crate) async fn handler(
        &self,
        module: &InstancePre<State>,
        program: &Program,
        sink: &LogSink,
    ) -> Result<Result<Handler, Verdict>, BackendError> {
        let mut store = self.store(program, sink);
        let made = async {
            let instance = module.instantiate_async(&mut store).await?;
            if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut store, "_initialize") {
                initialize.call_async(&mut store, ()).await?;
            }
            exports(&mut store, &instance)
        };
        match made.await {
            Ok((memory, alloc, handler)) => Ok(Ok(Handler {
                store,
                memory,
                alloc,
                handler,
            })),
            Err(error) => judge::of_error(&error, self.memory()).map(Err),
        }
    }

    /// Calls a handler with the input.
    pub(crate) async fn call(
        &self,
        handler: &mut Handler,
        invocation: &Invocation,
    ) -> Result<Called, BackendError> {
        handler.store.set_epoch_deadline(1);
        let returned = handler.call(&invocation.program.input).await;
        let failure = handler.store.data_mut().wasi.take_failure();
        let failed = |error: WorkloadError| Verdict {
            status: FAILED,
            error: Some(error),
        };
        let (verdict, output, is_whole) = match (returned, failure) {
            (Err(error), None) => (judge::of_error(&error, self.memory())?, None, false),
            (Err(_), Some(words)) => (failed(judge::exception(words)), None, false),
            (Ok(_), Some(words)) => (failed(judge::exception(words)), None, true),
            (Ok(returned), None) => match handler.output(returned, invocation.output_bytes_max) {
                Ok(output) => (judge::of_exit(0, self.memory()), Some(output), true),
                Err(error) => (failed(error), None, true),
            },
        };
        Ok(Called {
            verdict,
            output,
            is_whole,
        })
    }

    fn judged(&self, ended: wasmtime::Result<()>) -> Result<Verdict, BackendError> {
        match ended {
            Ok(()) => Ok(judge::of_exit(0, self.memory())),
            Err(error) => judge::of_error(&error, self.memory()),
        }
    }
}

impl Handler {
    /// Takes the input and the log of another call.
    pub(crate) fn begin_call(&mut self, invocation: &Invocation, sink: &LogSink) {
        let wasi = &mut self.store.data_mut().wasi;
        wasi.begin_call(invocation.program.input.clone(), sink);
    }

    /// Lets go of a call that is over.
    pub(crate) fn end_call(&mut self) {
        self.store.data_mut().wasi.end_call();
    }

    async fn call(&mut self, input: &[u8]) -> wasmtime::Result<i64> {
        let len = i32::try_from(input.len())?;
        let at = self.alloc.call_async(&mut self.store, len).await?;
        let start = at.cast_unsigned() as usize;
        let room = self
            .memory
            .data_mut(&mut self.store)
            .get_mut(start..start + input.len());
        let room = room.ok_or_else(|| {
            wasmtime::Error::msg(format!(
                "alloc({len}) returned {start}, where there are not as many bytes of memory"
            ))
        })?;
        room.copy_from_slice(input);
        self.handler.call_async(&mut self.store, (at, len)).await
    }

    fn output(&self, returned: i64, bytes_max: usize) -> Result<Value, WorkloadError> {
        let returned = returned.cast_unsigned();
        let (at, len) = ((returned >> 32) as usize, (returned & 0xffff_ffff) as usize);
        let text = self.memory.data(&self.store).get(at..at + len).ok_or_else(|| {
            judge::exception(format!(
                "the handler's result lies outside of the module's memory: {len} bytes at {at}"
            ))
        })?;
        if len > bytes_max {
            return Err(judge::too_large(bytes_max));
        }
        judge::of_output(text)
    }
}

impl Called {
    pub(crate) fn outcome(self, prepared_in: Duration) -> Outcome {
        self.verdict.with_output(self.output, prepared_in)
    }
}

/// Says what a guest does when its turn is over: others first, and a pause where it had its share.
fn turn(meter: &Meter) -> UpdateDeadline {
    match meter.pause() {
        None => UpdateDeadline::Yield(1),
        Some(pause) => UpdateDeadline::YieldCustom(1, Box::pin(tokio::time::sleep(pause))),
    }
}

async fn command_ended(store: &mut Store<State>, command: &InstancePre<State>) -> wasmtime::Result<()> {
    let instance = command.instantiate_async(&mut *store).await?;
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
    start.call_async(store, ()).await
}

type Exports = (LinearMemory, TypedFunc<i32, i32>, TypedFunc<(i32, i32), i64>);

fn exports(store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<Exports> {
    let memory = instance
        .get_memory(&mut *store, "memory")
        .ok_or_else(|| wasmtime::Error::msg("the module exports no memory named 'memory'"))?;
    let alloc = instance.get_typed_func(&mut *store, "alloc")?;
    Ok((memory, alloc, instance.get_typed_func(store, "handler")?))
}

/// The outcome of a program without a handler: what it wrote counts where it succeeded, and only there.
fn script(verdict: Verdict, written: Result<Option<Value>, WorkloadError>, prepared_in: Duration) -> Outcome {
    let (output, error) = match (written, verdict.error) {
        (Ok(output), error) => (output, error),
        (Err(error), None) => (None, Some(error)),
        (Err(_), Some(error)) => (None, Some(error)),
    };
    let verdict = Verdict {
        status: verdict.status,
        error,
    };
    verdict.with_output(output, prepared_in)
}

/// The outcome of a program that never ran.
pub(crate) fn never_ran(error: WorkloadError, prepared_in: Duration) -> Outcome {
    let verdict = Verdict {
        status: CANNOT_EXECUTE,
        error: Some(error),
    };
    verdict.outcome(prepared_in)
}
