//! Where a rule is played: a backend, its harness, and the host around them.

use std::{
    fs::File,
    future::Future,
    io::Read,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::OnceCell, time::timeout};
use vulcan_api::{
    Clock, InstanceId, Network, Program, Readiness, Resources, Runtime, SystemClock, WorkloadId,
};

use crate::{
    Ability, Backend, Exec, ExecRequest, Files, Instance, Invocation, InvokeMode, LogSink, StartRequest,
};

use super::{
    Act, Ended, Harness, Running,
    attack::{self, Report},
    bait::Bait,
    proof,
    running::Reader,
};

/// How long a rule waits for anything. Generous: it only ends what would hang, and measures nothing.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How often something is looked at that cannot be waited for.
const POLL_EVERY: Duration = Duration::from_millis(20);

/// The cap on outputs that rules run under.
pub(super) const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// What a rule needs and the class does not have.
#[derive(Debug, Clone, PartialEq)]
pub enum Inexpressible {
    /// A program that performs this act.
    Act(Act),
    /// A command that performs this act.
    Command(Act),
    /// An ability that the class does not declare.
    Ability(Ability),
    /// A way to have something ready that the class does not declare, in words.
    Reuse(&'static str),
}

/// What a rule returns: broken promises panic, and acts that the class cannot express come back as an error.
pub type Verdict = Result<(), Inexpressible>;

/// Where a rule is played.
pub struct Stage {
    harness: Box<dyn Harness>,
    backend: Arc<dyn Backend>,
    bait: OnceCell<Bait>,
    degradations: OnceCell<Vec<String>>,
    closed: AtomicBool,
    notes: Mutex<Vec<String>>,
}

impl Stage {
    pub(super) async fn new(harness: Box<dyn Harness>) -> Self {
        let backend = within("the harness' backend", harness.backend()).await;
        Self {
            harness,
            backend,
            bait: OnceCell::new(),
            degradations: OnceCell::new(),
            closed: AtomicBool::new(false),
            notes: Mutex::default(),
        }
    }

    /// Returns the backend.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Returns the harness.
    #[must_use]
    pub fn harness(&self) -> &dyn Harness {
        self.harness.as_ref()
    }

    /// Returns what the backend says does not hold on this host; empty where it is ready.
    pub async fn degradations(&self) -> &[String] {
        let ask = || async {
            match self.backend.probe().await.readiness {
                Readiness::Ready => Vec::new(),
                Readiness::Degraded { reasons } | Readiness::Unfit { reasons } => reasons,
            }
        };
        self.degradations.get_or_init(ask).await
    }

    /// Lets a promise go unkept where the backend itself says that what it is about does not hold on this host.
    ///
    /// # Panics
    ///
    /// When the backend says nothing of it.
    pub async fn expect_declared(&self, subject: &str, broken: &str) {
        let declared = self
            .degradations()
            .await
            .iter()
            .find(|reason| reason.contains(subject));
        match declared {
            Some(reason) => self.note(format!("NOT HELD: {broken}; the backend declares: {reason}")),
            None => panic!("{broken}, and the backend declares nothing of {subject}"),
        }
    }

    /// Returns the program that performs an act.
    ///
    /// # Errors
    ///
    /// [`Inexpressible`] when the class has no such program.
    pub fn program(&self, act: Act) -> Result<Program, Inexpressible> {
        self.harness.program(&act).ok_or(Inexpressible::Act(act))
    }

    /// Returns the command that performs an act.
    ///
    /// # Errors
    ///
    /// [`Inexpressible`] when the class has no such command.
    pub fn command(&self, act: Act) -> Result<ExecRequest, Inexpressible> {
        self.harness.command(&act).ok_or(Inexpressible::Command(act))
    }

    /// Returns an instance's ability to run commands.
    ///
    /// # Errors
    ///
    /// [`Inexpressible`] when the class does not declare it.
    ///
    /// # Panics
    ///
    /// When the class declares it and the instance does not have it.
    pub fn exec<'a>(&self, instance: &'a Arc<dyn Instance>) -> Result<&'a dyn Exec, Inexpressible> {
        self.declared(Ability::Exec)?;
        Ok(instance
            .exec()
            .expect("an instance has the abilities that its class declares"))
    }

    /// Returns an instance's ability to move files.
    ///
    /// # Errors
    ///
    /// [`Inexpressible`] when the class does not declare it.
    ///
    /// # Panics
    ///
    /// When the class declares it and the instance does not have it.
    pub fn files<'a>(&self, instance: &'a Arc<dyn Instance>) -> Result<&'a dyn Files, Inexpressible> {
        self.declared(Ability::Files)?;
        Ok(instance
            .files()
            .expect("an instance has the abilities that its class declares"))
    }

    fn declared(&self, ability: Ability) -> Result<(), Inexpressible> {
        let abilities = &self.backend.capabilities().abilities;
        abilities
            .contains(&ability)
            .then_some(())
            .ok_or(Inexpressible::Ability(ability))
    }

    /// Starts an instance with the default limits.
    pub async fn start(&self) -> Arc<dyn Instance> {
        self.start_with(Resources::default()).await
    }

    /// Starts an instance.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn start_with(&self, resources: Resources) -> Arc<dyn Instance> {
        self.start_request(self.request(resources)).await
    }

    /// Starts an instance whose interpreter waits for code.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn start_blank(&self, runtime: Runtime) -> Arc<dyn Instance> {
        self.start_request(StartRequest {
            prepare: Some(runtime),
            ..self.request(Resources::default())
        })
        .await
    }

    /// Makes a request for an instance that nobody else has, on the harness' root.
    pub(super) fn request(&self, resources: Resources) -> StartRequest {
        StartRequest {
            prepare: None,
            root: self.harness.root(),
            upper: crate::Upper::Memory,
            instance: InstanceId::generate(SystemClock.now(), random()),
            resources,
            network: Network::None,
        }
    }

    async fn start_request(&self, request: StartRequest) -> Arc<dyn Instance> {
        match within("a start", self.backend.start(request)).await {
            Ok(instance) => instance,
            Err(error) => panic!("an instance did not start: {error:?}"),
        }
    }

    /// Begins to run a program as the only one of its instance.
    #[must_use]
    pub fn begin(&self, instance: &Arc<dyn Instance>, program: Program) -> Running {
        self.begin_as(instance, program, InvokeMode::Once)
    }

    /// Begins to run a program, or a call of what it left loaded.
    #[must_use]
    pub fn begin_as(&self, instance: &Arc<dyn Instance>, program: Program, mode: InvokeMode) -> Running {
        let (reader, sink) = Reader::new();
        let invocation = Invocation {
            mode,
            ..invocation(program)
        };
        let task = tokio::spawn(invoke(instance.clone(), invocation, sink));
        Running { task, reader }
    }

    /// Runs an act in an instance of its own with the default limits.
    ///
    /// # Errors
    ///
    /// [`Inexpressible`] when the class has no such program.
    pub async fn run(&self, act: Act) -> Result<Ended, Inexpressible> {
        self.run_with(act, Resources::default()).await
    }

    /// Runs an act in an instance of its own.
    ///
    /// # Errors
    ///
    /// [`Inexpressible`] when the class has no such program.
    pub async fn run_with(&self, act: Act, resources: Resources) -> Result<Ended, Inexpressible> {
        let program = self.program(act)?;
        Ok(self.run_program(program, resources).await)
    }

    /// Runs a program in an instance of its own, and stops the instance.
    ///
    /// # Panics
    ///
    /// When the instance does not start or stop.
    pub async fn run_program(&self, program: Program, resources: Resources) -> Ended {
        let instance = self.start_with(resources).await;
        let mut ended = self.begin(&instance, program).end().await;
        stop(instance.as_ref()).await;
        ended.usage = instance.usage().await.ok();
        ended
    }

    /// Returns what lies on the host for attackers to find; laid out at the first call, checked after the rule.
    pub async fn bait(&self) -> &Bait {
        self.bait.get_or_init(Bait::lay).await
    }

    /// Returns the program of an attack, aimed at the bait.
    ///
    /// # Errors
    ///
    /// [`Inexpressible`] when the class has no such program.
    pub async fn attack_program(&self, name: &'static str) -> Result<Program, Inexpressible> {
        let mut program = self.program(Act::Attack(name))?;
        program.env.extend(self.bait().await.env().clone());
        Ok(program)
    }

    /// Proves that an attack works where nothing is in its way, performs it in an instance, and asserts that it is contained.
    ///
    /// # Errors
    ///
    /// [`Inexpressible`] when the class has no such program.
    ///
    /// # Panics
    ///
    /// When the attack is not contained, or should work without the defence and does not.
    pub async fn attack(&self, name: &'static str) -> Verdict {
        let program = self.attack_program(name).await?;
        if let Err(unproven) = proof::prove(attack::find(name)).await {
            self.note(unproven);
        }
        let ended = self.run_program(program, Resources::default()).await;
        let report = Report::read(ended.output());
        self.note(format!("tried: {}\n  result: {}", report.tried, report.detail));
        assert!(
            report.contained,
            "the attack '{name}' was not contained: {}",
            report.detail
        );
        Ok(())
    }

    /// Keeps a remark for the reader of the test's output.
    pub fn note(&self, text: impl Into<String>) {
        self.notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text.into());
    }

    pub(super) fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes the backend; no instance may be started afterwards.
    pub async fn close(&self) {
        if !self.closed.swap(true, Ordering::SeqCst) {
            within("the close of the backend", self.backend.close()).await;
        }
    }

    /// Asserts that nothing is left on the host.
    ///
    /// # Panics
    ///
    /// When something still is after the deadline.
    pub async fn expect_nothing_left(&self) {
        let mut left = Vec::new();
        let nothing = async {
            loop {
                left = self.harness.leftovers().await;
                if left.is_empty() {
                    return;
                }
                tokio::time::sleep(POLL_EVERY).await;
            }
        };
        if timeout(DEADLINE, nothing).await.is_err() {
            panic!("left on the host: {left:#?}");
        }
    }

    /// Asserts that the host is as it was and that the next workload runs clean: the end of every rule.
    pub(super) async fn expect_health(&self) {
        self.expect_nothing_left().await;
        if let Some(bait) = self.bait.get() {
            bait.expect_untouched().await;
        }
        if !self.closed.load(Ordering::SeqCst) {
            self.expect_a_clean_workload().await;
            self.expect_nothing_left().await;
        }
        self.close().await;
        self.expect_nothing_left().await;
    }

    /// Takes the bait away. What a rule leaves that panicked takes itself away a moment later.
    pub(super) async fn clear(self) {
        if let Some(bait) = self.bait.into_inner() {
            bait.remove().await;
        }
    }

    async fn expect_a_clean_workload(&self) {
        let Some(mut program) = self.harness.program(&Act::EchoInput) else {
            return;
        };
        program.input = bytes::Bytes::from_static(b"{\"next\":[1,2.5,null,\"\xc3\xa4\"]}");
        let ended = self.run_program(program, Resources::default()).await;
        assert_eq!(
            ended.output(),
            &serde_json::json!({"next": [1, 2.5, null, "ä"]}),
            "the next workload is not clean"
        );
        assert_eq!(ended.logs.stdout, b"", "the next workload's log is not clean");
    }
}

async fn invoke(
    instance: Arc<dyn Instance>,
    invocation: Invocation,
    sink: LogSink,
) -> Result<crate::Outcome, crate::BackendError> {
    instance.invoke(invocation, sink).await
}

/// Makes the invocation of a program that is the only one of its instance.
pub(super) fn invocation(program: Program) -> Invocation {
    Invocation {
        workload: WorkloadId::generate(SystemClock.now(), random()),
        program,
        timeout: DEADLINE,
        output_bytes_max: OUTPUT_BYTES_MAX,
        mode: InvokeMode::Once,
    }
}

/// Stops an instance at once.
pub(super) async fn stop(instance: &dyn Instance) {
    if let Err(error) = within("a stop", instance.stop(Duration::ZERO)).await {
        panic!("an instance did not stop: {error:?}");
    }
}

/// Returns how much memory this process has in use, in MiB.
pub(super) fn own_memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells every process its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("the status tells the memory in use") / 1024
}

/// Asserts that the host can still make processes.
pub(super) async fn expect_the_host_can_fork() {
    let status = within(
        "a process of the host",
        tokio::process::Command::new("true").status(),
    )
    .await;
    assert!(
        status.is_ok_and(|status| status.success()),
        "the host cannot make a process"
    );
}

/// Waits for a future, and panics when it takes longer than the deadline.
pub(super) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {DEADLINE:?} in vain for {what}"),
    }
}

/// Returns a random number that nobody can guess.
pub(super) fn random() -> u128 {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .expect("every Linux host has a random source");
    u128::from_le_bytes(bytes)
}
