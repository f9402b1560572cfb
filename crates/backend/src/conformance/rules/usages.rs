//! What an instance used, as far as the host can measure it.

use vulcan_api::Resources;

use crate::conformance::{
    Act, Stage, Verdict,
    stage::{stop, within},
};

/// Processor time is counted. A third is enough for a test on a loaded machine; far more than a lifetime is wrong too.
pub async fn processor_time_is_counted(stage: &Stage) -> Verdict {
    let idle = stage.run(Act::Exit(0)).await?;
    let busy = stage.run(Act::SpinFor { cpu_millis: 1_000 }).await?;

    let [idle, busy] = [idle, busy].map(|ended| ended.usage.expect("the host can tell the usage").cpu_ms);
    assert!(busy > 333.0, "{busy} ms for a spin of 1,000 ms");
    assert!(busy > idle, "{busy} ms busy, {idle} ms idle");
    assert!(busy < 30_000.0, "{busy} ms for a spin of 1,000 ms");
    Ok(())
}

/// The most memory that was in use is told, where the host can measure it.
pub async fn the_peak_of_memory_is_counted(stage: &Stage) -> Verdict {
    let resources = Resources {
        mem_mb: 256,
        ..Resources::default()
    };

    let ended = stage.run_with(Act::AllocateHeap { mib: 50 }, resources).await?;

    ended.succeeded();
    let usage = ended.usage.expect("the host can tell the usage");
    match usage.mem_peak_mb {
        Some(peak) => assert!((50.0..=257.0).contains(&peak), "a peak of {peak} MiB for 50 MiB"),
        None => {
            stage
                .expect_declared("memory", "the peak of memory is not measured")
                .await;
        }
    }
    Ok(())
}

/// The usage can be asked for at any time, and only grows.
pub async fn usage_is_told_at_any_time(stage: &Stage) -> Verdict {
    let program = stage.program(Act::SpinIgnoringSigterm)?;
    let instance = stage.start().await;
    let first = within("the usage", instance.usage())
        .await
        .expect("the host can tell the usage");
    let running = stage.begin(&instance, program);
    running.wait_for_line("ready").await;
    let second = within("the usage", instance.usage())
        .await
        .expect("the host can tell the usage");
    stop(instance.as_ref()).await;
    let last = within("the usage", instance.usage())
        .await
        .expect("the host can tell the usage");

    assert!(
        first.cpu_ms <= second.cpu_ms && second.cpu_ms <= last.cpu_ms,
        "{first:?} {second:?} {last:?}"
    );
    drop(running.end().await);
    Ok(())
}
