//! The memory limit bites, whatever the memory is for, and only the program that exceeds it.

use vulcan_api::{ErrorCode, Resources};

use crate::conformance::{
    Act, Ended, Stage, Verdict,
    stage::{expect_the_host_can_fork, stop},
};

/// Memory of the instance under attack. Its disk is larger, so that the memory's limit is the one that bites.
const SMALL: Resources = Resources {
    cpus: 1.0,
    mem_mb: 64,
    disk_mb: 512,
    pids: 64,
    timeout_s: 30.0,
};
/// Well beyond it.
const TOO_MUCH_MIB: u32 = 256;
/// More than any host has.
const A_PEBIBYTE_MIB: u32 = 1 << 30;

/// Many small pieces.
pub async fn the_heap_is_limited(stage: &Stage) -> Verdict {
    out_of_memory(stage, Act::AllocateHeap { mib: TOO_MUCH_MIB }).await
}

/// One large piece, touched page by page.
pub async fn one_large_allocation_is_limited(stage: &Stage) -> Verdict {
    out_of_memory(stage, Act::AllocateAtOnce { mib: TOO_MUCH_MIB }).await
}

/// Files in /tmp are memory.
pub async fn temporary_files_are_limited_by_memory(stage: &Stage) -> Verdict {
    out_of_memory(stage, fill("/tmp")).await
}

/// Files in /dev/shm are memory.
pub async fn shared_memory_files_are_limited_by_memory(stage: &Stage) -> Verdict {
    out_of_memory(stage, fill("/dev/shm")).await
}

/// Files without a name are memory.
pub async fn anonymous_files_are_limited_by_memory(stage: &Stage) -> Verdict {
    out_of_memory(stage, Act::Memfd { mib: TOO_MUCH_MIB }).await
}

/// Memory that belongs to no process counts too, or is refused.
pub async fn system_v_memory_is_limited(stage: &Stage) -> Verdict {
    let ended = stage
        .run_with(Act::SystemVMemory { mib: TOO_MUCH_MIB }, SMALL)
        .await?;

    let is_refused = ended.is_success() && ended.count() < u64::from(SMALL.mem_mb);
    if !is_refused {
        expect_out_of_memory(stage, &ended).await;
    }
    Ok(())
}

/// A request that no host could meet ends the program or is refused to it, and is no crash of anything else.
pub async fn an_absurd_allocation_is_the_programs_failure(stage: &Stage) -> Verdict {
    let ended = stage
        .run_with(Act::AllocateAtOnce { mib: A_PEBIBYTE_MIB }, SMALL)
        .await?;

    assert!(ended.outcome().error.is_some(), "{:?}", ended.outcome());
    expect_the_host_can_fork().await;
    Ok(())
}

/// What fits the limit is given.
pub async fn memory_within_the_limit_is_given(stage: &Stage) -> Verdict {
    let resources = Resources { mem_mb: 128, ..SMALL };

    let ended = stage.run_with(Act::AllocateHeap { mib: 64 }, resources).await?;

    assert_eq!(ended.count(), 64);
    Ok(())
}

async fn out_of_memory(stage: &Stage, act: Act) -> Verdict {
    let (program, sleep) = (stage.program(act)?, stage.program(Act::Sleep)?);
    let neighbour = stage.start().await;
    let living = stage.begin(&neighbour, sleep);
    living.wait_for_line("ready").await;

    let ended = stage.run_program(program, SMALL).await;

    expect_out_of_memory(stage, &ended).await;
    assert!(!living.is_over(), "a neighbour was hit");
    stop(neighbour.as_ref()).await;
    drop(living.end().await);
    expect_the_host_can_fork().await;
    Ok(())
}

/// A backend that declares its memory limit to be weaker on this host may let a program fail in its own way, or pass.
async fn expect_out_of_memory(stage: &Stage, ended: &Ended) {
    let outcome = ended.outcome();
    let code = outcome.error.as_ref().map(|error| error.code);
    if code != Some(ErrorCode::OutOfMemory) {
        stage
            .expect_declared(
                "memory",
                &format!("a program beyond its memory ended as {outcome:?}"),
            )
            .await;
    }
}

fn fill(folder: &str) -> Act {
    Act::FillFolder {
        folder: folder.to_owned(),
        mib: TOO_MUCH_MIB,
    }
}
