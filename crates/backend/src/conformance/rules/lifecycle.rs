//! Start, wait, stop, drop: at the end nothing is left.

use std::{future::Future, task::Poll, time::Duration};

use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use vulcan_api::{Clock, InstanceId, Network, Resources, SystemClock};

use crate::{
    Ability, BackendError, Exited, InvokeMode, StartRequest,
    conformance::{
        Act, Stage, Verdict,
        stage::{invocation, random, stop, within},
    },
};

/// How often a start is looked at before it is given up, at most; a start that is done earlier ends the search.
const POLLS_MAX: u32 = 64;
const CALLERS: usize = 8;

/// Looking changes nothing, and a backend that is under test can be used.
pub async fn a_probe_finds_a_usable_backend_and_changes_nothing(stage: &Stage) -> Verdict {
    for _ in 0..3 {
        let probe = within("the probe", stage.backend().probe()).await;

        assert!(probe.readiness.is_usable(), "{:?}", probe.readiness);
        assert!(
            probe.runtimes.iter().any(|runtime| runtime.available),
            "{:?}",
            probe.runtimes
        );
        stage.note(format!("readiness: {:?}", probe.readiness));
    }
    stage.expect_nothing_left().await;
    Ok(())
}

/// An accessor gives what the capabilities declare, and nothing else.
pub async fn declared_abilities_and_accessors_agree(stage: &Stage) -> Verdict {
    let instance = stage.start().await;
    let abilities = &stage.backend().capabilities().abilities;

    assert_eq!(instance.exec().is_some(), abilities.contains(&Ability::Exec));
    assert_eq!(instance.files().is_some(), abilities.contains(&Ability::Files));
    stop(instance.as_ref()).await;
    Ok(())
}

/// An instance that never ran anything is stopped like any other.
pub async fn an_unused_instance_leaves_nothing(stage: &Stage) -> Verdict {
    let instance = stage.start().await;

    stop(instance.as_ref()).await;

    // Nothing may be left as soon as the stop returns.
    assert_eq!(stage.harness().leftovers().await, Vec::<String>::new());
    Ok(())
}

/// Stopping twice is fine.
pub async fn a_second_stop_is_harmless(stage: &Stage) -> Verdict {
    let instance = stage.start().await;
    for _ in 0..3 {
        stop(instance.as_ref()).await;
    }
    assert_eq!(within("the end", instance.wait()).await, Exited::Stopped);
    Ok(())
}

/// Stopping at the same time is fine, and every caller returns only when nothing is left.
pub async fn stops_at_the_same_time_are_harmless(stage: &Stage) -> Verdict {
    let program = stage.program(Act::SpinIgnoringSigterm)?;
    let instance = stage.start().await;
    let running = stage.begin(&instance, program);
    running.wait_for_line("ready").await;

    let mut stops = JoinSet::new();
    for _ in 0..CALLERS {
        let instance = instance.clone();
        stops.spawn(async move {
            instance
                .stop(Duration::ZERO)
                .await
                .map_err(|error| error.to_string())
        });
    }
    while let Some(stopped) = within("a stop", stops.join_next()).await {
        assert_eq!(stopped.expect("a stop does not panic"), Ok(()));
        assert_eq!(stage.harness().leftovers().await, Vec::<String>::new());
    }
    drop(running.end().await);
    Ok(())
}

/// Any number of callers wait for the end, before it and after it; one that goes away disturbs nobody.
pub async fn any_number_of_callers_wait_for_the_end(stage: &Stage) -> Verdict {
    let instance = stage.start().await;
    assert!(
        timeout(Duration::from_millis(1), instance.wait()).await.is_err(),
        "it is not over"
    );
    let mut waits = JoinSet::new();
    for _ in 0..CALLERS {
        let instance = instance.clone();
        waits.spawn(async move { instance.wait().await });
    }

    stop(instance.as_ref()).await;

    while let Some(exited) = within("a caller", waits.join_next()).await {
        assert_eq!(exited.expect("a wait does not panic"), Exited::Stopped);
    }
    assert_eq!(within("a late caller", instance.wait()).await, Exited::Stopped);
    Ok(())
}

/// A program that is stopped in the middle returns as stopped, to its caller.
pub async fn an_invocation_that_is_stopped_says_so(stage: &Stage) -> Verdict {
    let program = stage.program(Act::Sleep)?;
    let instance = stage.start().await;
    let running = stage.begin(&instance, program);
    running.wait_for_line("ready").await;

    stop(instance.as_ref()).await;

    let ended = running.end().await;
    assert!(
        matches!(ended.result, Err(BackendError::Stopped)),
        "{:?}",
        ended.result
    );
    assert_eq!(
        ended.logs.stdout, b"ready\n",
        "what was written before is not lost"
    );
    Ok(())
}

/// A stopped instance runs nothing any more, and still tells what it used.
pub async fn a_stopped_instance_refuses_programs(stage: &Stage) -> Verdict {
    let program = stage.program(Act::Exit(0))?;
    let instance = stage.start().await;
    stop(instance.as_ref()).await;

    let (sink, _chunks) = mpsc::channel(1);
    let result = within("the refusal", instance.invoke(invocation(program), sink)).await;

    assert!(matches!(result, Err(BackendError::Stopped)), "{result:?}");
    assert!(instance.usage().await.is_ok());
    Ok(())
}

/// Dropping the last reference stops the instance, whatever runs in it.
pub async fn dropping_the_last_reference_leaves_nothing(stage: &Stage) -> Verdict {
    drop(stage.start().await);
    stage.expect_nothing_left().await;

    let program = stage.program(Act::SpinWithDetachedChildren)?;
    let instance = stage.start().await;
    let running = stage.begin(&instance, program);
    running.wait_for_line("ready").await;
    // The invocation's own reference goes with it.
    running.abandon().await;
    drop(instance);

    stage.expect_nothing_left().await;
    Ok(())
}

/// A start that is given up leaves nothing, at whichever step.
pub async fn dropping_a_start_leaves_nothing(stage: &Stage) -> Verdict {
    for polls in 1..POLLS_MAX {
        let start = stage.backend().start(stage.request(Resources::default()));
        let done = within("a part of a start", poll_at_most(polls, start)).await;
        let is_done = done.inspect(|started| assert!(started.is_ok())).is_some();
        stage.expect_nothing_left().await;
        if is_done {
            break;
        }
    }
    for millis in 0..10 {
        let start = stage.backend().start(stage.request(Resources::default()));
        drop(timeout(Duration::from_millis(millis), start).await);
    }
    stage.expect_nothing_left().await;
    Ok(())
}

/// An invocation that is given up leaves the program running; the instance is stopped as ever.
pub async fn dropping_an_invocation_leaves_the_program_running(stage: &Stage) -> Verdict {
    let program = stage.program(Act::Sleep)?;
    let instance = stage.start().await;
    let running = stage.begin(&instance, program);
    running.wait_for_line("ready").await;
    running.abandon().await;

    assert!(
        timeout(Duration::from_millis(50), instance.wait()).await.is_err(),
        "the instance ended"
    );
    stop(instance.as_ref()).await;
    Ok(())
}

/// A start that fails leaves nothing: what the class cannot do, and what the harness broke.
pub async fn a_failed_start_leaves_nothing(stage: &Stage) -> Verdict {
    let egress = StartRequest {
        network: Network::Egress,
        ..stage.request(Resources::default())
    };
    let refused = within("the refusal", stage.backend().start(egress)).await;
    assert!(
        refused.is_err(),
        "an open network was asked for, and an instance started without one"
    );
    stage.expect_nothing_left().await;

    for broken in stage.harness().broken().await {
        for _ in 0..3 {
            let started = within(
                &broken.what,
                broken.backend.start(stage.request(Resources::default())),
            )
            .await;
            let error = started.err().map(|error| error.to_string());
            assert!(error.is_some(), "it started though {}", broken.what);
            stage.note(format!("{}: {}", broken.what, error.unwrap_or_default()));
            stage.expect_nothing_left().await;
        }
        within("the close of a broken backend", broken.backend.close()).await;
    }
    Ok(())
}

/// The wall-clock limit is for the caller to keep.
pub async fn an_instance_does_not_enforce_the_timeout(stage: &Stage) -> Verdict {
    let resources = Resources {
        timeout_s: 0.05,
        ..Resources::default()
    };

    let ended = stage.run_with(Act::SleepFor { millis: 500 }, resources).await?;

    ended.succeeded();
    Ok(())
}

/// An instance that is not over with its first program runs a second one.
pub async fn an_instance_that_is_kept_runs_another_program(stage: &Stage) -> Verdict {
    let instance = stage.start().await;
    for number in 0..3 {
        let mut program = stage.program(Act::EchoInput)?;
        program.input = bytes::Bytes::from(number.to_string());
        let mut invocation = invocation(program);
        invocation.mode = InvokeMode::Beside;
        let (sink, _chunks) = mpsc::channel(16);

        let outcome = within("a program", instance.invoke(invocation, sink)).await;

        let output = outcome
            .map(|outcome| outcome.output)
            .map_err(|error| error.to_string());
        assert_eq!(output, Ok(Some(number.into())));
    }
    stop(instance.as_ref()).await;
    Ok(())
}

/// One after another.
pub async fn fifty_instances_in_a_row_leave_nothing(stage: &Stage) -> Verdict {
    for code in 0..50 {
        let ended = stage.run(Act::Exit(code)).await?;
        assert_eq!(ended.outcome().status, crate::ExitStatus::Code(code));
        assert_eq!(
            stage.harness().leftovers().await,
            Vec::<String>::new(),
            "after {code}"
        );
    }
    Ok(())
}

/// All at once, each with its own result.
pub async fn sixteen_instances_at_once_leave_nothing(stage: &Stage) -> Verdict {
    let mut programs = Vec::new();
    for number in 0..16 {
        let mut program = stage.program(Act::EchoInput)?;
        program.input = bytes::Bytes::from(number.to_string());
        programs.push(program);
    }

    let starts = programs
        .iter()
        .map(|_| stage.backend().start(stage.request(Resources::default())));
    let mut instances = Vec::new();
    for start in within("sixteen starts", join_all(starts.collect())).await {
        instances.push(start.expect("an instance starts beside fifteen others"));
    }
    let running: Vec<_> = instances
        .iter()
        .zip(programs)
        .map(|(instance, program)| stage.begin(instance, program))
        .collect();
    for (number, running) in running.into_iter().enumerate() {
        assert_eq!(running.end().await.output(), &serde_json::json!(number));
    }
    for stopped in within(
        "sixteen stops",
        join_all(instances.iter().map(|i| i.stop(Duration::ZERO)).collect()),
    )
    .await
    {
        assert!(stopped.is_ok(), "{stopped:?}");
    }
    assert_eq!(stage.harness().leftovers().await, Vec::<String>::new());
    Ok(())
}

/// An instance that never was cannot be taken over.
pub async fn an_unknown_instance_is_not_adopted(stage: &Stage) -> Verdict {
    let id = InstanceId::generate(SystemClock.now(), random());

    let adopted = within("the answer", stage.backend().adopt(&id)).await;

    assert!(matches!(adopted, Ok(None)));
    Ok(())
}

/// Sweeping where nothing is left finds nothing, as often as one likes.
pub async fn a_sweep_of_nothing_is_harmless(stage: &Stage) -> Verdict {
    for _ in 0..3 {
        let swept = within("the sweep", stage.backend().sweep(&[])).await;

        assert_eq!(
            swept.map_err(|error| error.to_string()),
            Ok(crate::Swept::default())
        );
    }
    Ok(())
}

/// Polls a future at most so many times; `None` when it was not done by then, and is dropped.
async fn poll_at_most<F: Future>(polls: u32, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => {
            left -= 1;
            if left == 0 {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        }
    })
    .await
}

/// Runs futures at the same time, and returns what they return in their order.
async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures
        .into_iter()
        .map(|future| (Box::pin(future), None))
        .collect();
    std::future::poll_fn(|context| {
        for (future, output) in &mut pending {
            if output.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *output = Some(ready);
            }
        }
        if pending.iter().all(|(_, output)| output.is_some()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    pending.into_iter().filter_map(|(_, output)| output).collect()
}
