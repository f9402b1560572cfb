//! Draining and aborting.

use std::sync::Arc;

use vulcan_api::{ErrorCode, Status};
use vulcan_backend::simulator::Simulator;
use vulcan_bus::WorkloadState;

use crate::harness::{Bench, program, until};

#[tokio::test]
async fn a_drain_waits_for_what_runs_and_takes_nothing_more() {
    let mut bench = Bench::new().await;
    let workload = bench.assign(program("hang")).await;
    until("it runs", || bench.simulator.live() == 1).await;
    let (drained, reasons) = {
        let Bench {
            handle,
            control,
            simulator,
            ..
        } = &mut bench;
        let drive = async {
            let late = program("exit 0");
            // The status says so before anything is refused.
            loop {
                match control.reports.recv().await.unwrap() {
                    vulcan_bus::Report::Status(status) if !status.node.ready => break,
                    vulcan_bus::Report::Status(_) | vulcan_bus::Report::Workload(_) => {}
                }
            }
            control
                .commands
                .send(vulcan_bus::Command::Assign(Box::new(late)))
                .await
                .unwrap();
            let reason = loop {
                if let vulcan_bus::Report::Workload(report) = control.reports.recv().await.unwrap()
                    && let WorkloadState::Rejected { reason } = report.state
                {
                    break reason;
                }
            };
            assert_eq!(simulator.live(), 1);
            let reason_of_stop = vulcan_bus::StopReason::Killed;
            control
                .commands
                .send(vulcan_bus::Command::Stop {
                    workload,
                    reason: reason_of_stop,
                })
                .await
                .unwrap();
            reason
        };
        tokio::join!(handle.drain(), drive)
    };
    let () = drained;
    assert_eq!(reasons, "node newt is shutting down");
    assert_eq!(bench.simulator.live(), 0);
    assert_eq!(bench.end(workload).await.status, Status::Killed);
}

#[tokio::test]
async fn an_abort_ends_everything_and_reports_it() {
    let mut bench = Bench::new().await;
    let mut workloads = Vec::new();
    for text in ["hang", "spin", "sleep 100000"] {
        workloads.push(bench.assign(program(text)).await);
    }
    until("all run", || bench.simulator.live() == 3).await;

    bench.handle.abort().await;

    assert_eq!(bench.simulator.live(), 0);
    for workload in workloads {
        let end = bench.end(workload).await;
        assert_eq!(
            (end.status, end.error.unwrap().code),
            (Status::Failed, ErrorCode::NodeRestarted)
        );
    }
}

#[tokio::test]
async fn an_abort_overtakes_a_drain() {
    let bench = Bench::new().await;
    bench.assign(program("hang")).await;
    until("it runs", || bench.simulator.live() == 1).await;
    tokio::join!(bench.handle.drain(), bench.handle.abort());
    assert_eq!(bench.simulator.live(), 0);
}

#[tokio::test]
async fn a_joined_node_gives_its_directory_back() {
    let bench = Bench::new().await;
    let directory = Arc::clone(&bench.directory);
    bench.handle.join().await;
    assert!(Bench::at(directory, Simulator::new(), |_| {}).await.is_ok());
}

#[tokio::test]
async fn a_control_plane_that_is_gone_does_not_keep_the_node() {
    let bench = Bench::new().await;
    bench.assign(program("sleep 30")).await;
    let Bench {
        handle,
        control,
        simulator,
        ..
    } = bench;
    until("it runs", || simulator.live() == 1).await;
    drop(control);
    handle.join().await;
    assert_eq!(simulator.live(), 0);
}
