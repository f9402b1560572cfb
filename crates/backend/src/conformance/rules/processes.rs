//! Processes, threads and descriptors: counted, limited, reaped, and all gone at the end.

use std::time::Duration;

use vulcan_api::Resources;

use crate::{
    BackendError,
    conformance::{
        Act, Stage, Verdict,
        stage::{expect_the_host_can_fork, stop, within},
    },
};

const PIDS: u32 = 32;
/// As many descriptors as a careful operator would ever give to one process.
const OPEN_FILES_MAX: u64 = 1 << 20;

fn few_pids() -> Resources {
    Resources {
        pids: PIDS,
        ..Resources::default()
    }
}

/// Children are limited.
pub async fn the_number_of_processes_is_limited(stage: &Stage) -> Verdict {
    let count = stage.run_with(Act::CountForks, few_pids()).await?.count();

    assert!(
        (1..=u64::from(PIDS)).contains(&count),
        "{count} children beside the limit of {PIDS}"
    );
    Ok(())
}

/// Threads are limited as processes are.
pub async fn the_number_of_threads_is_limited(stage: &Stage) -> Verdict {
    let count = stage.run_with(Act::CountThreads, few_pids()).await?.count();

    assert!(
        (1..=u64::from(PIDS)).contains(&count),
        "{count} threads beside the limit of {PIDS}"
    );
    Ok(())
}

/// Dead children that nobody reaps are limited as living ones are, and gone afterwards.
pub async fn zombies_are_limited_and_do_not_stay(stage: &Stage) -> Verdict {
    let count = stage.run_with(Act::Zombies, few_pids()).await?.count();

    assert!(
        (1..=u64::from(PIDS)).contains(&count),
        "{count} zombies beside the limit of {PIDS}"
    );
    Ok(())
}

/// Somebody reaps orphans: many times the limit pass through, one after another.
pub async fn orphans_are_reaped(stage: &Stage) -> Verdict {
    let count = stage.run_with(Act::Orphans(10 * PIDS), few_pids()).await?.count();

    assert_eq!(count, u64::from(10 * PIDS));
    Ok(())
}

/// A fork bomb takes only its own share; the host can make processes meanwhile, and it ends with the stop.
pub async fn a_fork_bomb_is_contained(stage: &Stage) -> Verdict {
    let program = stage.program(Act::ForkBomb)?;
    let instance = stage.start().await;
    let running = stage.begin(&instance, program);
    running.wait_for_line("ready").await;

    for _ in 0..20 {
        expect_the_host_can_fork().await;
    }
    stop(instance.as_ref()).await;

    let ended = running.end().await;
    assert!(
        matches!(ended.result, Err(BackendError::Stopped)),
        "{:?}",
        ended.result
    );
    Ok(())
}

/// Descriptors are limited, and a program that used them up is still heard.
pub async fn the_number_of_open_files_is_limited(stage: &Stage) -> Verdict {
    let count = stage.run(Act::CountOpenFiles).await?.count();

    assert!((16..=OPEN_FILES_MAX).contains(&count), "{count} open files");
    Ok(())
}

/// A program is over when it is over, even if a detached child holds its streams open for ever.
pub async fn a_detached_child_does_not_hold_up_the_end(stage: &Stage) -> Verdict {
    let ended = stage.run(Act::LeaveDetachedChild).await?;

    ended.succeeded();
    assert_eq!(ended.logs.stdout, b"left\n");
    Ok(())
}

/// A stop ends what ignores every signal, with children that left its session, group and parent.
pub async fn a_stop_ends_what_ignores_every_signal(stage: &Stage) -> Verdict {
    for grace in [Duration::ZERO, Duration::from_millis(200)] {
        let program = stage.program(Act::SpinWithDetachedChildren)?;
        let instance = stage.start().await;
        let running = stage.begin(&instance, program);
        running.wait_for_line("ready").await;

        let stopped = within("the stop of a spinning program", instance.stop(grace)).await;

        assert!(stopped.is_ok(), "{stopped:?}");
        let ended = running.end().await;
        assert!(
            matches!(ended.result, Err(BackendError::Stopped)),
            "{:?}",
            ended.result
        );
        stage.expect_nothing_left().await;
    }
    Ok(())
}

/// A program that kills all that it may kill ends itself and nobody else.
pub async fn a_program_that_kills_everything_ends_alone(stage: &Stage) -> Verdict {
    let (program, sleep) = (stage.program(Act::KillEverything)?, stage.program(Act::Sleep)?);
    let neighbour = stage.start().await;
    let living = stage.begin(&neighbour, sleep);
    living.wait_for_line("ready").await;

    // What the agent makes of it is open; that the invocation ends, and the host's health, are not.
    let ended = stage.run_program(program, Resources::default()).await;

    stage.note(format!("the invocation ended as {:?}", ended.result));
    assert!(!living.is_over(), "a neighbour was hit");
    stop(neighbour.as_ref()).await;
    drop(living.end().await);
    expect_the_host_can_fork().await;
    Ok(())
}
