//! Commands beside the program, for classes with the ability.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use vulcan_guest_protocol::{ExitStatus, RefusalCode};

use crate::{
    BackendError, ExecRequest, Instance,
    conformance::{
        Act, Inexpressible, Logs, Output, Stage, Verdict,
        running::Reader,
        stage::{stop, within},
    },
};

/// Codes and signals are exact.
pub async fn a_command_ends_as_it_ends(stage: &Stage) -> Verdict {
    let instance = stage.start().await;
    for (act, status) in [
        (Act::Exit(0), ExitStatus::Code(0)),
        (Act::Exit(3), ExitStatus::Code(3)),
        (Act::Exit(255), ExitStatus::Code(255)),
        (Act::Signal(9), ExitStatus::Signal(9)),
    ] {
        let (result, _) = run(stage, &instance, stage.command(act)?).await?;
        assert_eq!(result.map_err(|error| error.to_string()), Ok(status));
    }
    stop(instance.as_ref()).await;
    Ok(())
}

/// A command's output is complete and in order.
pub async fn a_commands_output_arrives_whole(stage: &Stage) -> Verdict {
    let instance = stage.start().await;
    let bytes = 3 * 1024 * 1024;
    let act = Act::Flood {
        bytes,
        stream: Output::Stdout,
    };

    let (result, logs) = run(stage, &instance, stage.command(act)?).await?;

    assert_eq!(result.map_err(|error| error.to_string()), Ok(ExitStatus::Code(0)));
    assert!(
        logs.stdout == Act::flood(bytes),
        "{} of {bytes} bytes arrived",
        logs.stdout.len()
    );
    stop(instance.as_ref()).await;
    Ok(())
}

/// Standard input, variables and working directory are the command's own.
pub async fn a_command_gets_its_input_environment_and_folder(stage: &Stage) -> Verdict {
    let instance = stage.start().await;
    let mut request = stage.command(Act::PrintStdinAndCwd)?;
    request.stdin = Bytes::from("ä\n".repeat(100_000));
    request.cwd = "/tmp".to_owned();

    let (_, logs) = run(stage, &instance, request).await?;

    let seen: serde_json::Value = serde_json::from_slice(&logs.stdout).expect("the command prints JSON");
    assert!(seen["stdin"] == "ä\n".repeat(100_000), "the input was changed");
    assert_eq!(seen["cwd"], "/tmp");

    let mut request = stage.command(Act::PrintEnv)?;
    request.env = BTreeMap::from([
        ("EMPTY".to_owned(), String::new()),
        ("TEXT".to_owned(), "ä b".to_owned()),
    ]);
    let (_, logs) = run(stage, &instance, request).await?;
    let seen: serde_json::Value = serde_json::from_slice(&logs.stdout).expect("the command prints JSON");
    assert_eq!((&seen["EMPTY"], &seen["TEXT"]), (&"".into(), &"ä b".into()));
    stop(instance.as_ref()).await;
    Ok(())
}

/// Commands run while the program does, and neither disturbs the other.
pub async fn a_command_runs_beside_the_program(stage: &Stage) -> Verdict {
    let instance = stage.start().await;
    stage.exec(&instance)?;
    let running = stage.begin(&instance, stage.program(Act::Sleep)?);
    running.wait_for_line("ready").await;

    for code in [0, 7] {
        let (result, _) = run(stage, &instance, stage.command(Act::Exit(code))?).await?;
        assert_eq!(
            result.map_err(|error| error.to_string()),
            Ok(ExitStatus::Code(code))
        );
    }

    assert!(!running.is_over(), "the program ended with the command");
    stop(instance.as_ref()).await;
    let ended = running.end().await;
    assert_eq!(
        ended.logs.stdout, b"ready\n",
        "a command's output went to the program's log"
    );
    Ok(())
}

/// A command that is not there is a refusal with a name.
pub async fn a_command_that_is_not_there_is_refused(stage: &Stage) -> Verdict {
    let instance = stage.start().await;
    for program in ["no-such-program-anywhere", "/no/such/program", ""] {
        let request = ExecRequest {
            argv: vec![program.to_owned()],
            ..stage.command(Act::Exit(0))?
        };
        let (result, _) = run(stage, &instance, request).await?;

        let is_refusal = matches!(
            result,
            Err(BackendError::Refused {
                code: RefusalCode::NotFound | RefusalCode::Invalid | RefusalCode::Io,
                ..
            })
        );
        assert!(is_refusal, "{program:?}: {result:?}");
    }
    stop(instance.as_ref()).await;
    Ok(())
}

/// A stop ends commands too, and they say so.
pub async fn a_stop_ends_commands_too(stage: &Stage) -> Verdict {
    let instance = stage.start().await;
    let request = stage.command(Act::SpinIgnoringSigterm)?;
    stage.exec(&instance)?;
    let (reader, sink) = Reader::new();
    let task = tokio::spawn({
        let instance = instance.clone();
        async move {
            let exec = instance.exec().expect("an instance keeps its abilities");
            exec.run(request, sink).await
        }
    });
    reader.wait_for_line("ready").await;

    stop(instance.as_ref()).await;

    let result = within("the end of the command", task)
        .await
        .expect("a command does not panic");
    assert!(matches!(result, Err(BackendError::Stopped)), "{result:?}");
    let late = run(stage, &instance, stage.command(Act::Exit(0))?).await?.0;
    assert!(matches!(late, Err(BackendError::Stopped)), "{late:?}");
    Ok(())
}

/// Runs a command to its end.
pub(super) async fn run(
    stage: &Stage,
    instance: &Arc<dyn Instance>,
    request: ExecRequest,
) -> Result<(Result<ExitStatus, BackendError>, Logs), Inexpressible> {
    let exec = stage.exec(instance)?;
    let (reader, sink) = Reader::new();
    let result = within("the end of a command", exec.run(request, sink)).await;
    Ok((result, reader.finish().await))
}
