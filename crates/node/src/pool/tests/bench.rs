//! Pools over the simulator, without a node.

use std::{
    io,
    num::NonZeroU16,
    sync::{Arc, Mutex},
    time::Duration,
};

use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::time::{sleep, timeout};
use vulcan_api::{
    BackendInfo, IsolationClass, Network, NodeName, PoolInfo, Readiness, Resources, Runtime, RuntimeInfo,
    SystemClock, Usage,
};
use vulcan_backend::{Backend as _, BackendError, simulator::Simulator};

use crate::pool::{
    Ask, BlankKind, DefaultRoots, Lease, Loaded, Memory, Patience, Pool, PoolLimits, Ready, Setup, Size,
};
use crate::{Metrics, metrics::Kind};

pub(super) const GIB: u64 = 1 << 30;

pub(super) struct Bench {
    pub(super) pool: Arc<Pool>,
    pub(super) simulator: Simulator,
    registry: Registry,
    /// What the machine is made to say of its memory.
    pub(super) memory: Arc<Mutex<Memory>>,
}

impl Bench {
    /// Makes pools that nobody tends.
    pub(super) fn idle(change: impl FnOnce(&mut PoolLimits)) -> Self {
        let mut limits = PoolLimits {
            refill_concurrency: 1,
            ..PoolLimits::default()
        };
        change(&mut limits);
        let memory = Arc::new(Mutex::new(Memory {
            total: 10 * GIB,
            available: 8 * GIB,
        }));
        let (simulator, seen) = (Simulator::new(), Arc::clone(&memory));
        let mut registry = Registry::default();
        let backend: Arc<dyn vulcan_backend::Backend> = Arc::new(simulator.clone());
        let pool = Pool::new(Setup {
            limits,
            backends: [(IsolationClass::Sandbox, backend)].into(),
            clock: Arc::new(SystemClock),
            metrics: Metrics::register(&mut registry),
            stop: Duration::from_secs(1),
            memory: Box::new(move || Some(*seen.lock().unwrap())),
        });
        Self {
            pool,
            simulator,
            registry,
            memory,
        }
    }

    /// Makes pools that are tended, and offered what the simulator has.
    pub(super) fn new(change: impl FnOnce(&mut PoolLimits)) -> Self {
        let bench = Self::idle(change);
        bench.pool.offered(&[offer(&Runtime::ALL)], &DefaultRoots::new());
        let pool = Arc::clone(&bench.pool);
        bench.pool.tasks.spawn(pool.tend());
        bench
    }

    pub(super) fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }

    pub(super) fn infos(&self) -> Vec<PoolInfo> {
        self.pool.infos(IsolationClass::Sandbox)
    }

    pub(super) fn blank(&self) -> u32 {
        self.infos().iter().map(|info| info.blank).sum()
    }

    pub(super) fn warm(&self) -> u32 {
        self.infos().iter().map(|info| info.warm).sum()
    }

    /// Closes the pools; nothing is left.
    pub(super) async fn close(self) {
        self.pool.close();
        timeout(Duration::from_secs(60), self.pool.closed())
            .await
            .unwrap();
        assert_eq!(self.simulator.live(), 0);
    }

    pub(super) fn ask<'a>(&self, owner: &'a str, code: u8) -> Ask<'a> {
        Ask {
            key: key(owner, code),
            owner,
            kind: KIND,
            mem_mb: 128,
            root: None,
        }
    }

    /// Loads one instance for an owner.
    pub(super) async fn load(&self, owner: &str, code: u8, calls_max: u16, mem_peak_mb: f64) {
        let Loaded::Seat(seat) = self.pool.lend(self.ask(owner, code), Patience::None) else {
            panic!("no seat");
        };
        let id =
            vulcan_api::InstanceId::generate(vulcan_api::Timestamp::from_millis(0), crate::host::random());
        let request = vulcan_backend::StartRequest {
            instance: id,
            resources: Resources::default(),
            network: Network::None,
            prepare: None,
            root: None,
            upper: vulcan_backend::Upper::Memory,
        };
        let instance = self.simulator.start(request).await.unwrap();
        let usage = Some(Usage {
            cpu_ms: 1.0,
            mem_peak_mb: Some(mem_peak_mb),
        });
        assert!(seat.fill(
            &Ready { instance, id, usage },
            NonZeroU16::new(calls_max).unwrap()
        ));
    }

    pub(super) fn lease(&self, owner: &str, code: u8) -> Option<Lease> {
        match self.pool.lend(self.ask(owner, code), Patience::None) {
            Loaded::Lease(lease) => Some(lease),
            Loaded::Wait(..) | Loaded::Seat(_) | Loaded::Full => None,
        }
    }
}

const KIND: Kind = Kind {
    isolation: IsolationClass::Sandbox,
    runtime: Runtime::Python,
};

fn key(owner: &str, code: u8) -> crate::pool::key::WarmKey {
    crate::pool::key::WarmKey::for_test(owner, code)
}

pub(super) fn python() -> BlankKind {
    BlankKind {
        isolation: IsolationClass::Sandbox,
        runtime: Runtime::Python,
        size: Size::of(&Resources::default()),
        network: Network::None,
        root: None,
    }
}

/// A kind that is not kept always.
pub(super) fn odd() -> BlankKind {
    let resources = Resources {
        mem_mb: 77,
        ..Resources::default()
    };
    BlankKind {
        size: Size::of(&resources),
        ..python()
    }
}

pub(super) fn offer(runtimes: &[Runtime]) -> BackendInfo {
    let info = |runtime: &Runtime| RuntimeInfo {
        runtime: *runtime,
        available: true,
        detail: String::new(),
        packages: Vec::new(),
    };
    BackendInfo {
        isolation: IsolationClass::Sandbox,
        node: "newt".parse::<NodeName>().unwrap(),
        readiness: Readiness::Ready,
        runtimes: runtimes.iter().map(info).collect(),
        abilities: Vec::new(),
        pools: Vec::new(),
    }
}

/// Waits until something holds, in the clock of the test.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come true");
}

pub(super) fn failure() -> BackendError {
    BackendError::StartFailed {
        step: "clone3".to_owned(),
        source: Some(io::Error::other("no more processes")),
    }
}
