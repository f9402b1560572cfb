//! Instances that are started ahead of the code, and handlers that stay: what is gained, and that nothing is lost by it.

use std::num::NonZeroU16;

use bytes::Bytes;
use serde_json::{Value, json};
use vulcan_api::{ErrorCode, Program, Resources};

use crate::{
    BackendError, Exited, InvokeMode, Readying,
    conformance::{
        Act, Ended, Inexpressible, Output, Stage, Verdict,
        stage::{stop, within},
    },
};

/// Nobody can tell from the outcome that the instance was waiting.
pub async fn a_blank_instance_runs_a_program_like_any_other(stage: &Stage) -> Verdict {
    let mut handler = stage.program(Act::EchoInput)?;
    handler.input = Bytes::from_static(b"{\"a\":[1,\"\xc3\xa4\"]}");
    let failing = stage.program(Act::Raise("the reason is 42".to_owned()))?;
    let printing = stage.program(Act::PrintRaw {
        bytes: b"a line\n".to_vec(),
        stream: Output::Stderr,
    })?;

    let ended = in_blank(stage, handler).await?;
    assert_eq!(ended.output(), &json!({"a": [1, "ä"]}));
    assert_eq!(ended.logs.stdout, b"");
    assert_eq!(ended.outcome().reusable, None);

    let ended = in_blank(stage, failing).await?;
    let error = ended.failed_with(ErrorCode::Exception).error.as_ref();
    assert!(
        error.is_some_and(|error| error.message.contains("the reason is 42")),
        "{error:?}"
    );

    let ended = in_blank(stage, printing).await?;
    ended.succeeded();
    assert_eq!(ended.logs.stderr, b"a line\n");
    Ok(())
}

/// One that nobody needed goes without a trace.
pub async fn a_blank_instance_that_is_stopped_leaves_nothing(stage: &Stage) -> Verdict {
    let blank = blank_of(stage, &stage.program(Act::EchoInput)?)?;
    let instance = stage.start_blank(blank).await;
    within("the usage", instance.usage())
        .await
        .expect("the host can tell the usage");

    stop(instance.as_ref()).await;

    assert_eq!(within("the end", instance.wait()).await, Exited::Stopped);
    stage.expect_nothing_left().await;
    Ok(())
}

/// A handler may stay where an instance was waiting for it, too.
pub async fn a_blank_instance_becomes_a_warm_one(stage: &Stage) -> Verdict {
    let serve = warm(stage)?;
    let instance = stage.start_blank(blank_of(stage, &serve)?).await;

    let mut answers = Vec::new();
    for _ in 0..2 {
        let call = stage.begin_as(&instance, with_input(&serve, "go"), InvokeMode::Warm);
        answers.push(call.end().await.output().clone());
    }

    stop(instance.as_ref()).await;
    assert_eq!(answers, [json!(1), json!(2)]);
    Ok(())
}

/// That is what warm means.
pub async fn a_warm_call_sees_what_the_one_before_left(stage: &Stage) -> Verdict {
    let serve = warm(stage)?;

    let calls = in_turn(stage, &serve, InvokeMode::Warm, &["go"; 5]).await;

    let answers: Vec<&Value> = calls.iter().map(Ended::output).collect();
    assert_eq!(answers, [&json!(1), &json!(2), &json!(3), &json!(4), &json!(5)]);
    assert!(calls.iter().all(is_reusable));
    Ok(())
}

/// What a call wrote is complete when it ends, and no other call's.
pub async fn a_calls_log_holds_its_own_lines_and_all_of_them(stage: &Stage) -> Verdict {
    let (serve, modes) = either(stage)?;
    for mode in modes {
        let inputs = ["one", "two", "three"];

        let calls = in_turn(stage, &serve, mode, &inputs).await;

        let logs: Vec<String> = calls
            .iter()
            .map(|call| String::from_utf8_lossy(&call.logs.stdout).into_owned())
            .collect();
        assert_eq!(logs, ["loaded\none\n", "two\n", "three\n"], "{mode:?}");
    }
    Ok(())
}

/// An exception fails the call and not the handler.
pub async fn an_exception_leaves_the_handler_loaded(stage: &Stage) -> Verdict {
    let (serve, modes) = either(stage)?;
    for mode in modes {
        let calls = in_turn(stage, &serve, mode, &["raise", "go", "raise", "go"]).await;

        for (call, fails) in calls.iter().zip([true, false, true, false]) {
            if fails {
                call.failed_with(ErrorCode::Exception);
            } else {
                call.succeeded();
            }
            assert!(is_reusable(call), "{mode:?}: {:?}", call.outcome());
        }
    }
    Ok(())
}

/// What does not load is not called: the instance says so, and whoever keeps it stops it.
pub async fn a_failed_load_leaves_nothing_loaded(stage: &Stage) -> Verdict {
    let program = stage.program(Act::Unparsable)?;
    for mode in modes_of(readying(stage, &program)?)? {
        let instance = stage.start().await;

        let ended = stage.begin_as(&instance, program.clone(), mode).end().await;

        stop(instance.as_ref()).await;
        let code = ended.outcome().error.as_ref().map(|error| error.code);
        assert!(
            matches!(code, Some(ErrorCode::Exception | ErrorCode::CompileFailed)),
            "{mode:?}: {:?}",
            ended.outcome()
        );
        assert!(!is_reusable(&ended), "{mode:?}: {:?}", ended.outcome());
    }
    Ok(())
}

/// A program without a handler runs from its first line to its last, and is over.
pub async fn a_script_is_run_warm_once(stage: &Stage) -> Verdict {
    let program = stage.program(Act::PrintRaw {
        bytes: b"[42]\n".to_vec(),
        stream: Output::Stdout,
    })?;
    for mode in modes_of(readying(stage, &program)?)? {
        let instance = stage.start().await;

        let ended = stage.begin_as(&instance, program.clone(), mode).end().await;

        stop(instance.as_ref()).await;
        assert_eq!(ended.output(), &json!([42]), "{mode:?}");
        assert!(!is_reusable(&ended), "{mode:?}: {:?}", ended.outcome());
    }
    Ok(())
}

/// Every fork begins where the load ended.
pub async fn a_forked_call_sees_nothing_of_the_one_before(stage: &Stage) -> Verdict {
    let serve = stage.program(Act::Serve)?;
    if !readying(stage, &serve)?.forked {
        return Err(Inexpressible::Reuse("handlers that fork"));
    }

    let calls = in_turn(stage, &serve, InvokeMode::Forked, &["go"; 4]).await;

    assert!(calls.iter().all(|call| call.output() == &json!(1)));
    assert!(calls.iter().all(is_reusable));
    Ok(())
}

/// The deadline of a call is kept by stopping its instance, whatever the handler does.
pub async fn the_stop_of_a_kept_instance_ends_a_running_call(stage: &Stage) -> Verdict {
    let (serve, modes) = either(stage)?;
    for mode in modes {
        let instance = stage.start().await;
        let first = stage.begin_as(&instance, with_input(&serve, "go"), mode);
        first.end().await.succeeded();
        let running = stage.begin_as(&instance, with_input(&serve, "hang"), mode);
        running.wait_for_line("hang").await;

        stop(instance.as_ref()).await;

        let ended = running.end().await;
        assert!(
            matches!(ended.result, Err(BackendError::Stopped)),
            "{mode:?}: {:?}",
            ended.result
        );
        stage.expect_nothing_left().await;
    }
    Ok(())
}

/// Usage is the instance's, over all of its calls.
pub async fn usage_grows_from_call_to_call(stage: &Stage) -> Verdict {
    let (serve, modes) = either(stage)?;
    for mode in modes {
        let instance = stage.start().await;
        let mut usages = Vec::new();
        for _ in 0..3 {
            let call = stage.begin_as(&instance, with_input(&serve, "go"), mode);
            call.end().await.succeeded();
            let usage = within("the usage", instance.usage()).await;
            usages.push(usage.expect("the host can tell the usage").cpu_ms);
        }
        stop(instance.as_ref()).await;

        assert!(usages[0] > 0.0 && usages.is_sorted(), "{mode:?}: {usages:?}");
    }
    Ok(())
}

/// Two instances of one program share nothing but the code.
pub async fn kept_instances_know_nothing_of_each_other(stage: &Stage) -> Verdict {
    let serve = warm(stage)?;
    let (first, second) = (stage.start().await, stage.start().await);

    let mut answers = Vec::new();
    for instance in [&first, &second, &first] {
        let call = stage.begin_as(instance, with_input(&serve, "go"), InvokeMode::Warm);
        answers.push(call.end().await.output().clone());
    }

    stop(first.as_ref()).await;
    stop(second.as_ref()).await;
    assert_eq!(answers, [json!(1), json!(1), json!(2)]);
    Ok(())
}

fn readying<'a>(stage: &'a Stage, program: &Program) -> Result<&'a Readying, Inexpressible> {
    stage
        .backend()
        .capabilities()
        .readying(program.runtime)
        .ok_or(Inexpressible::Reuse("anything ahead of the code"))
}

fn blank_of(stage: &Stage, program: &Program) -> Result<vulcan_api::Runtime, Inexpressible> {
    readying(stage, program)?
        .blank
        .ok_or(Inexpressible::Reuse("blank instances"))
}

fn warm(stage: &Stage) -> Result<Program, Inexpressible> {
    let serve = stage.program(Act::Serve)?;
    if readying(stage, &serve)?.warm {
        Ok(serve)
    } else {
        Err(Inexpressible::Reuse("handlers that stay"))
    }
}

/// Returns the program that serves calls, and the modes in which it stays.
fn either(stage: &Stage) -> Result<(Program, Vec<InvokeMode>), Inexpressible> {
    let serve = stage.program(Act::Serve)?;
    let modes = modes_of(readying(stage, &serve)?)?;
    Ok((serve, modes))
}

fn modes_of(readying: &Readying) -> Result<Vec<InvokeMode>, Inexpressible> {
    let modes: Vec<InvokeMode> = [
        (readying.warm, InvokeMode::Warm),
        (readying.forked, InvokeMode::Forked),
    ]
    .into_iter()
    .filter_map(|(has, mode)| has.then_some(mode))
    .collect();
    if modes.is_empty() {
        Err(Inexpressible::Reuse("handlers that stay or fork"))
    } else {
        Ok(modes)
    }
}

fn with_input(serve: &Program, input: &str) -> Program {
    Program {
        input: Bytes::from(json!(input).to_string()),
        ..serve.clone()
    }
}

/// Runs a program in an instance that was waiting for it.
async fn in_blank(stage: &Stage, program: Program) -> Result<Ended, Inexpressible> {
    let instance = stage.start_blank(blank_of(stage, &program)?).await;
    let ended = stage.begin(&instance, program).end().await;
    stop(instance.as_ref()).await;
    Ok(ended)
}

/// Calls what serves with one input after the other, in one instance.
async fn in_turn(stage: &Stage, serve: &Program, mode: InvokeMode, inputs: &[&str]) -> Vec<Ended> {
    let instance = stage.start_with(Resources::default()).await;
    let mut calls = Vec::new();
    for input in inputs {
        let call = stage.begin_as(&instance, with_input(serve, input), mode);
        calls.push(call.end().await);
    }
    stop(instance.as_ref()).await;
    calls
}

fn is_reusable(call: &Ended) -> bool {
    call.outcome().reusable >= Some(NonZeroU16::MIN)
}
