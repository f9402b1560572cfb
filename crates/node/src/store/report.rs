//! The end of a workload as it is stored: a shape of its own, so that a change of the message is no change of the disk.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vulcan_api::{StartKind, Status, Timestamp, Usage, WorkloadError, WorkloadId};
use vulcan_bus::{WorkloadEnd, WorkloadReport, WorkloadState};

/// The version that is written. A reader leaves newer ones alone.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    workload: WorkloadId,
    generation: u32,
    status: Status,
    output: Option<Value>,
    exit_code: Option<i32>,
    error: Option<WorkloadError>,
    usage: Option<Usage>,
    start: Option<StartKind>,
    started_at: Timestamp,
    start_ms: f64,
    run_ms: f64,
    finished_at: Timestamp,
    logs_truncated: bool,
}

/// Returns the stored form of an end; `None` for a report that is none.
pub(super) fn encode(report: &WorkloadReport) -> Option<String> {
    let WorkloadState::Ended(end) = &report.state else {
        return None;
    };
    let end = end.as_ref().clone();
    let stored = Stored {
        version: VERSION,
        workload: report.workload,
        generation: report.generation,
        status: end.status,
        output: end.output,
        exit_code: end.exit_code,
        error: end.error,
        usage: end.usage,
        start: end.start,
        started_at: end.started_at,
        start_ms: end.start_ms,
        run_ms: end.run_ms,
        finished_at: end.finished_at,
        logs_truncated: end.logs_truncated,
    };
    serde_json::to_string(&stored).ok()
}

/// Reads the stored form; `None` where it is of another version or broken.
pub(super) fn decode(body: &str) -> Option<WorkloadReport> {
    let stored: Stored = serde_json::from_str(body)
        .ok()
        .filter(|stored: &Stored| stored.version == VERSION)?;
    Some(WorkloadReport {
        workload: stored.workload,
        generation: stored.generation,
        state: WorkloadState::Ended(Box::new(WorkloadEnd {
            status: stored.status,
            // `null` as an output and no output are one in JSON.
            output: stored.output,
            exit_code: stored.exit_code,
            error: stored.error,
            usage: stored.usage,
            start: stored.start,
            started_at: stored.started_at,
            start_ms: stored.start_ms,
            run_ms: stored.run_ms,
            finished_at: stored.finished_at,
            logs_truncated: stored.logs_truncated,
        })),
    })
}

#[cfg(test)]
mod tests {
    use vulcan_api::ErrorCode;

    use super::*;

    fn report() -> WorkloadReport {
        let end = WorkloadEnd {
            status: Status::Failed,
            output: Some(serde_json::json!({"n": 1})),
            exit_code: Some(3),
            error: Some(WorkloadError::new(
                ErrorCode::ExitCode,
                "the program ended with exit code 3",
            )),
            usage: Some(Usage {
                cpu_ms: 1.5,
                mem_peak_mb: None,
            }),
            start: Some(StartKind::Cold),
            started_at: Timestamp::from_millis(1_000),
            start_ms: 2.5,
            run_ms: 0.5,
            finished_at: Timestamp::from_millis(1_003),
            logs_truncated: true,
        };
        WorkloadReport {
            workload: WorkloadId::generate(Timestamp::from_millis(1_000), 7),
            generation: 2,
            state: WorkloadState::Ended(Box::new(end)),
        }
    }

    #[test]
    fn an_end_survives_its_storage() {
        assert_eq!(decode(&encode(&report()).unwrap()), Some(report()));
    }

    #[test]
    fn the_stored_form_is_what_it_was() {
        insta::assert_snapshot!(encode(&report()).unwrap(), @r#"{"version":1,"workload":"wl_00000000Z80000000000000007","generation":2,"status":"failed","output":{"n":1},"exit_code":3,"error":{"code":"exit_code","message":"the program ended with exit code 3"},"usage":{"cpu_ms":1.5},"start":"cold","started_at":"1970-01-01T00:00:01.000Z","start_ms":2.5,"run_ms":0.5,"finished_at":"1970-01-01T00:00:01.003Z","logs_truncated":true}"#);
    }

    #[test]
    fn a_newer_form_is_left_alone() {
        let newer = encode(&report())
            .unwrap()
            .replace("\"version\":1", "\"version\":2");
        assert_eq!(decode(&newer), None);
    }
}
