//! Bare commands, each run in turn with what is compared with it.

use vulcan_api::{BareCommand, BenchmarkFloor, IsolationClass};

use super::{
    caller::{Caller, Interrupted},
    plan::Step,
    programs::Row,
    statistics::spread,
};

/// Samples of several commands.
#[derive(Debug)]
pub(super) struct Floors {
    isolation: IsolationClass,
    commands: Vec<Floor>,
}

#[derive(Debug)]
struct Floor {
    command: BareCommand,
    text: String,
    samples: Vec<f64>,
    note: Option<String>,
}

impl Floors {
    /// Starts without a sample.
    pub(super) fn new(isolation: IsolationClass, commands: &[BareCommand]) -> Self {
        let floor = |command: &BareCommand| Floor {
            command: *command,
            text: command.as_str().to_owned(),
            samples: Vec::new(),
            note: None,
        };
        Self {
            isolation,
            commands: commands.iter().map(floor).collect(),
        }
    }

    /// Runs every command once; one that failed before is left alone.
    pub(super) async fn round(&mut self, caller: &Caller, is_counted: bool) {
        for floor in self.commands.iter_mut().filter(|floor| floor.note.is_none()) {
            match caller.bare(floor.command).await {
                Ok(run) => {
                    floor.text = run.text;
                    floor.samples.extend(is_counted.then_some(run.elapsed_ms));
                }
                Err(reason) => floor.note = Some(reason),
            }
        }
    }

    /// Returns the rows of the report.
    pub(super) fn rows(self) -> Vec<BenchmarkFloor> {
        let isolation = self.isolation;
        let row = |floor: Floor| BenchmarkFloor {
            command: floor.command,
            isolation,
            total_ms: spread(&floor.samples),
            text: floor.text,
            note: floor.note,
        };
        self.commands.into_iter().map(row).collect()
    }
}

/// Measures the bare commands of a class that is not there.
///
/// # Errors
///
/// None today: a command that cannot be run is a row that says so.
pub(super) async fn measure(
    caller: &Caller,
    row: &Row,
    samples: u32,
    step: &Step,
) -> Result<Vec<BenchmarkFloor>, Interrupted> {
    let mut floors = Floors::new(row.isolation, row.floors);
    floors.round(caller, false).await;
    let units = step.units() / samples.max(1);
    for _ in 0..samples {
        floors.round(caller, true).await;
        caller.advance(units);
    }
    Ok(floors.rows())
}
