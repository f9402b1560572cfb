//! What is measured, in which order: pure.

use std::time::Duration;

use vulcan_api::{
    BackendInfo, BareCommand, BenchmarkAbsence, BenchmarkSpec, BenchmarkWork, IsolationClass, Readiness,
    StartKind,
};

use super::programs::{ROWS, Row};

/// Ways to start, from the slowest to the fastest.
const STARTS: [StartKind; 4] = [
    StartKind::Cold,
    StartKind::Pooled,
    StartKind::Forked,
    StartKind::Warm,
];
/// How many no-ops at once.
const CONCURRENCIES: [u32; 3] = [1, 4, 16];
/// How long each load is.
const LOAD: Duration = Duration::from_secs(2);
/// The same for a quick benchmark.
const LOAD_QUICK: Duration = Duration::from_millis(500);
/// What one unit of progress stands for.
const UNIT_MS: u128 = 50;
/// Units of an instance whose memory is measured.
const MEMORY_UNITS: u32 = 10;

/// Everything that is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    /// One after the other.
    pub(super) steps: Vec<Step>,
    /// Classes that were asked for, and cannot be measured.
    pub(super) absent: Vec<BenchmarkAbsence>,
}

/// One thing to measure.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Workloads one at a time.
    Start {
        /// The class.
        row: &'static Row,
        /// What they do.
        work: BenchmarkWork,
        /// How they are to be started.
        start: StartKind,
        /// How many count.
        samples: u32,
        /// What runs bare before each of them.
        floors: &'static [BareCommand],
    },
    /// The memory of an instance.
    Memory {
        /// The class.
        row: &'static Row,
    },
    /// No-ops, many at once.
    Rate {
        /// The class.
        row: &'static Row,
        /// How they are to be started.
        start: StartKind,
        /// How many at once.
        concurrency: u32,
        /// For how long.
        duration: Duration,
    },
    /// Bare commands of a class that cannot be measured.
    Floors {
        /// The class.
        row: &'static Row,
        /// How many count.
        samples: u32,
    },
}

impl Step {
    /// Returns what it is, for people.
    pub(super) fn title(&self) -> String {
        match self {
            Self::Start { row, work, start, .. } => {
                format!("{}: {}, {}", row.isolation, work.title(), start.as_str())
            }
            Self::Memory { row } => format!("{}: memory of one instance", row.isolation),
            Self::Rate {
                row,
                start,
                concurrency,
                ..
            } => format!("{}: {concurrency} at once, {}", row.isolation, start.as_str()),
            Self::Floors { row, .. } => format!("{}: bare commands only", row.isolation),
        }
    }

    /// Returns about how long it takes, in units of progress.
    pub(super) fn units(&self) -> u32 {
        match self {
            Self::Start { work, samples, .. } => samples * units(*work),
            Self::Memory { .. } => MEMORY_UNITS,
            Self::Rate { duration, .. } => u32::try_from(duration.as_millis() / UNIT_MS).unwrap_or(u32::MAX),
            Self::Floors { samples, .. } => *samples,
        }
    }
}

/// Returns about how long one sample of a work takes, in units of progress.
pub(super) const fn units(work: BenchmarkWork) -> u32 {
    match work {
        BenchmarkWork::Noop | BenchmarkWork::Echo => 1,
        BenchmarkWork::Memory => 2,
        BenchmarkWork::Output => 6,
        BenchmarkWork::Cpu => 21,
    }
}

/// Returns how many samples of a work there are for so many no-ops: what takes long is repeated less.
const fn samples(work: BenchmarkWork, noops: u32) -> u32 {
    match work {
        BenchmarkWork::Noop | BenchmarkWork::Echo => noops,
        BenchmarkWork::Memory | BenchmarkWork::Output => noops.div_ceil(5),
        BenchmarkWork::Cpu => noops.div_ceil(30),
    }
}

/// Makes the plan of a request on a platform that has these backends.
pub(super) fn plan(spec: &BenchmarkSpec, backends: &[&BackendInfo]) -> Plan {
    let mut plan = Plan {
        steps: Vec::new(),
        absent: Vec::new(),
    };
    let is_asked = |class: &IsolationClass| spec.classes.is_empty() || spec.classes.contains(class);
    for isolation in IsolationClass::ALL.into_iter().filter(is_asked) {
        let row = ROWS.iter().find(|row| row.isolation == isolation);
        match (row, absence(isolation, row, backends)) {
            (Some(row), None) => add(&mut plan.steps, spec, row),
            (row, reason) => {
                plan.absent.push(BenchmarkAbsence {
                    isolation,
                    reason: reason.unwrap_or_default(),
                });
                let floors = row.filter(|row| !row.floors.is_empty());
                plan.steps.extend(floors.map(|row| Step::Floors {
                    row,
                    samples: spec.samples(),
                }));
            }
        }
    }
    plan
}

fn add(steps: &mut Vec<Step>, spec: &BenchmarkSpec, row: &'static Row) {
    let is_asked = |work: &&BenchmarkWork| spec.works.is_empty() || spec.works.contains(work);
    for work in BenchmarkWork::ALL.iter().copied().filter(|work| is_asked(&work)) {
        steps.extend(STARTS.into_iter().map(|start| {
            let has_floors = work == BenchmarkWork::Noop && start == StartKind::Cold;
            Step::Start {
                row,
                work,
                start,
                samples: samples(work, spec.samples()),
                floors: if has_floors { row.floors } else { &[] },
            }
        }));
    }
    steps.push(Step::Memory { row });
    if is_asked(&&BenchmarkWork::Noop) {
        for start in STARTS {
            steps.extend(CONCURRENCIES.into_iter().map(|concurrency| Step::Rate {
                row,
                start,
                concurrency,
                duration: if spec.quick { LOAD_QUICK } else { LOAD },
            }));
        }
    }
}

/// Returns why a class cannot be measured; `None` when it can.
fn absence(isolation: IsolationClass, row: Option<&Row>, backends: &[&BackendInfo]) -> Option<String> {
    let mut offered = backends.iter().filter(|backend| backend.isolation == isolation);
    let usable = offered.clone().find(|backend| backend.readiness.is_usable());
    let Some(backend) = usable.or_else(|| offered.next()) else {
        return Some("no node offers it".to_owned());
    };
    if let Readiness::Unfit { reasons } = &backend.readiness {
        return Some(reasons.join("; "));
    }
    let Some(row) = row else {
        return Some("this version has no programs for it".to_owned());
    };
    let runtime = backend.runtimes.iter().find(|info| info.runtime == row.runtime);
    match runtime {
        Some(info) if info.available => None,
        Some(info) => Some(format!("it cannot run {}: {}", row.runtime, info.detail)),
        None => Some(format!("it cannot run {}", row.runtime)),
    }
}

#[cfg(test)]
mod tests {
    use vulcan_api::{Runtime, RuntimeInfo};

    use super::*;

    fn backend(isolation: IsolationClass, runtime: Runtime) -> BackendInfo {
        BackendInfo {
            isolation,
            node: "newt".parse().unwrap(),
            readiness: Readiness::Ready,
            runtimes: vec![RuntimeInfo {
                runtime,
                available: true,
                detail: "1.0".to_owned(),
                packages: Vec::new(),
            }],
            abilities: Vec::new(),
            pools: Vec::new(),
        }
    }

    fn absent(plan: &Plan) -> Vec<(IsolationClass, &str)> {
        let reasons = plan.absent.iter();
        reasons
            .map(|absent| (absent.isolation, absent.reason.as_str()))
            .collect()
    }

    #[test]
    fn a_class_that_cannot_be_measured_is_told_with_its_reason() {
        let mut wasm = backend(IsolationClass::Wasm, Runtime::Wasm);
        wasm.readiness = Readiness::Unfit {
            reasons: vec!["no memory".to_owned()],
        };
        let microvm = backend(IsolationClass::Microvm, Runtime::Python);
        let mut container = backend(IsolationClass::Container, Runtime::Python);
        container.runtimes[0].available = false;
        container.runtimes[0].detail = "there is no image vulcan/python:latest".to_owned();
        let isolate = backend(IsolationClass::Isolate, Runtime::Python);
        let sandbox = backend(IsolationClass::Sandbox, Runtime::Python);

        let plan = plan(
            &BenchmarkSpec::default(),
            &[&wasm, &container, &isolate, &sandbox, &microvm],
        );

        assert_eq!(
            absent(&plan),
            [
                (IsolationClass::Isolate, "it cannot run node"),
                (IsolationClass::Wasm, "no memory"),
                (
                    IsolationClass::Container,
                    "it cannot run python: there is no image vulcan/python:latest"
                ),
                (IsolationClass::Gvisor, "no node offers it"),
                (IsolationClass::Microvm, "this version has no programs for it"),
            ]
        );
    }

    #[test]
    fn classes_of_images_have_the_work_of_the_sandbox_and_floors_of_their_own() {
        let backends = [
            IsolationClass::Sandbox,
            IsolationClass::Container,
            IsolationClass::Gvisor,
        ]
        .map(|class| backend(class, Runtime::Python));
        let steps = |class| {
            let spec = BenchmarkSpec {
                classes: vec![class],
                ..BenchmarkSpec::default()
            };
            plan(&spec, &backends.each_ref()).steps
        };
        let titles = |class: IsolationClass| -> Vec<String> {
            let titles = steps(class).iter().map(Step::title).collect::<Vec<_>>();
            let of_class = format!("{class}: ");
            titles.iter().map(|title| title.replace(&of_class, "")).collect()
        };
        let floors = |class| match &steps(class)[0] {
            Step::Start { floors, .. } => floors.to_vec(),
            Step::Memory { .. } | Step::Rate { .. } | Step::Floors { .. } => Vec::new(),
        };

        for class in [IsolationClass::Container, IsolationClass::Gvisor] {
            assert_eq!(titles(class), titles(IsolationClass::Sandbox));
        }
        assert_eq!(
            floors(IsolationClass::Container),
            [BareCommand::Runc, BareCommand::Docker]
        );
        assert_eq!(floors(IsolationClass::Gvisor), [BareCommand::Runsc]);
    }

    #[test]
    fn everything_is_measured_where_nothing_is_left_out() {
        let sandbox = backend(IsolationClass::Sandbox, Runtime::Python);
        let spec = BenchmarkSpec {
            classes: vec![IsolationClass::Sandbox],
            ..BenchmarkSpec::default()
        };
        let titles: Vec<String> = plan(&spec, &[&sandbox]).steps.iter().map(Step::title).collect();
        assert_eq!(titles.len(), 5 * 4 + 1 + 4 * 3);
        assert_eq!(titles[0], "sandbox: no-op, cold");
        assert_eq!(titles[19], "sandbox: 10 MB of output, warm");
        assert_eq!(titles[20], "sandbox: memory of one instance");
        assert_eq!(titles[32], "sandbox: 16 at once, warm");
    }

    #[test]
    fn work_that_takes_long_is_repeated_less() {
        let counts = BenchmarkWork::ALL.iter().map(|work| samples(*work, 100));
        assert_eq!(counts.collect::<Vec<_>>(), [100, 100, 4, 20, 20]);
        assert_eq!(samples(BenchmarkWork::Cpu, 1), 1);
    }

    #[test]
    fn only_what_is_asked_for_is_measured() {
        let sandbox = backend(IsolationClass::Sandbox, Runtime::Python);
        let spec = BenchmarkSpec {
            classes: vec![IsolationClass::Sandbox],
            works: vec![BenchmarkWork::Echo],
            samples: Some(7),
            quick: true,
        };
        let plan = plan(&spec, &[&sandbox]);
        assert!(plan.absent.is_empty());
        assert_eq!(plan.steps.len(), STARTS.len() + 1);
        assert_eq!(plan.steps[0].units(), 7);
    }
}
