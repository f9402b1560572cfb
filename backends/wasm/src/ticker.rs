//! The clock that interrupts guests: one thread, which sleeps while nothing runs.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use wasmtime::Engine;

/// How long a guest runs until another one gets its turn, and until it notices that it is stopped.
const TICK: Duration = Duration::from_millis(1);
/// For how many ticks the thread goes on when nothing runs any more: waking it costs more than a tick.
const TICKS_IDLE_MAX: u32 = 100;

/// For how many ticks a closed clock goes on for those who still run: they end at their next interruption.
const TICKS_CLOSING_MAX: u32 = 2_000;

/// Increments the engine's epoch while somebody runs.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    engine: Engine,
    running: AtomicUsize,
    is_parked: AtomicBool,
    is_closed: AtomicBool,
}

impl Ticker {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the host has no more threads.
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            engine,
            running: AtomicUsize::new(0),
            is_parked: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        });
        let thread = thread::Builder::new()
            .name("vulcan-wasm-tick".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.tick()
            })?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Says that somebody runs until the result is dropped.
    pub(crate) fn running(&self) -> Running {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.is_parked.load(Ordering::SeqCst) {
            self.unpark();
        }
        Running(Arc::clone(&self.shared))
    }

    /// Interrupts everybody now, once.
    pub(crate) fn interrupt(&self) {
        self.shared.engine.increment_epoch();
    }

    /// Ends the thread when nobody runs any more, and waits for it: two seconds at most. Who runs must have been told to end.
    pub(crate) fn close(&self) {
        self.shared.is_closed.store(true, Ordering::SeqCst);
        self.unpark();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    fn unpark(&self) {
        if let Some(thread) = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
        {
            thread.thread().unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn tick(&self) {
        let mut idle = 0;
        let mut closing = 0;
        while !self.is_over(closing) {
            // Whoever wakes it early makes one turn shorter.
            thread::park_timeout(TICK);
            self.engine.increment_epoch();
            closing += u32::from(self.is_closed.load(Ordering::SeqCst));
            idle = if self.running.load(Ordering::SeqCst) == 0 {
                idle + 1
            } else {
                0
            };
            if idle > TICKS_IDLE_MAX {
                self.park();
                idle = 0;
            }
        }
    }

    /// Returns whether a clock that went on for so many ticks since it was closed has nobody left to interrupt.
    fn is_over(&self, ticks_closing: u32) -> bool {
        self.is_closed.load(Ordering::SeqCst)
            && (self.running.load(Ordering::SeqCst) == 0 || ticks_closing > TICKS_CLOSING_MAX)
    }

    /// Sleeps until somebody runs. Whoever begins to run in between finds the note, or is found.
    fn park(&self) {
        self.is_parked.store(true, Ordering::SeqCst);
        while self.running.load(Ordering::SeqCst) == 0 && !self.is_closed.load(Ordering::SeqCst) {
            thread::park();
        }
        self.is_parked.store(false, Ordering::SeqCst);
    }
}

/// Somebody runs.
pub(crate) struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}
