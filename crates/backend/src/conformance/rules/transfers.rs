//! Files in and out, for classes with the ability. The guest is hostile: it chooses what lies at a path.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use vulcan_api::Program;
use vulcan_guest_protocol::{InvokeMode, RefusalCode};

use crate::{
    BackendError, Files, Instance,
    conformance::{
        Act, Stage, Verdict,
        stage::{invocation, random, stop, within},
    },
};

const MIB: usize = 1024 * 1024;
/// How a path is refused that leads to no file.
const NO_FILE: &[RefusalCode] = &[RefusalCode::NotFound, RefusalCode::Invalid, RefusalCode::Io];

/// What is written can be read back, byte by byte: empty, binary, several frames long.
pub async fn a_written_file_is_read_back(stage: &Stage) -> Verdict {
    let instance = stage.start().await;
    let files = stage.files(&instance)?;
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("all", (0..=255).collect()),
        ("long", Act::flood(3 * MIB)),
    ] {
        let path = format!("/work/{name}");
        let bytes = Bytes::from(bytes);

        write(files, &path, &bytes).await.expect("a file can be written");

        let back = read(files, &path, 4 * MIB).await.expect("a file can be read");
        assert!(back == bytes, "{path}: {} of {} bytes", back.len(), bytes.len());
    }
    write(files, "/work/long", &Bytes::from_static(b"short"))
        .await
        .expect("a file can be replaced");
    assert_eq!(
        read(files, "/work/long", MIB).await.expect("a file can be read"),
        "short"
    );
    stop(instance.as_ref()).await;
    Ok(())
}

/// Program and caller see the same files, with the permissions that were asked for.
pub async fn the_program_sees_what_was_written_and_the_other_way_round(stage: &Stage) -> Verdict {
    let instance = stage.start().await;
    let files = stage.files(&instance)?;
    write(files, "/work/from-the-host", &Bytes::from_static(b"\"host\""))
        .await
        .expect("a file can be written");

    for (act, output) in [
        (
            Act::ReadFile {
                path: "/work/from-the-host".to_owned(),
            },
            Some(json!("host")),
        ),
        (
            Act::FileMode {
                path: "/work/from-the-host".to_owned(),
            },
            Some(json!(0o640)),
        ),
        (
            Act::WriteFile {
                path: "/work/from-the-guest".to_owned(),
                text: "guest".to_owned(),
            },
            None,
        ),
    ] {
        assert_eq!(run(instance.as_ref(), stage.program(act)?).await, output);
    }

    let read = read(files, "/work/from-the-guest", MIB)
        .await
        .expect("a file can be read");
    assert_eq!(read, "guest");
    stop(instance.as_ref()).await;
    Ok(())
}

/// A file beyond the limit is refused and not cut; one of exactly the limit is given.
pub async fn a_file_beyond_the_limit_is_refused(stage: &Stage) -> Verdict {
    let instance = stage.start().await;
    let files = stage.files(&instance)?;
    write(files, "/work/file", &Bytes::from(vec![7; 1000]))
        .await
        .expect("a file can be written");

    assert_eq!(
        read(files, "/work/file", 1000).await.expect("it fits").len(),
        1000
    );
    refused(&read(files, "/work/file", 999).await, &[RefusalCode::TooLarge]);
    stop(instance.as_ref()).await;
    Ok(())
}

/// Files without an end, or longer than anything, are refused without being read.
pub async fn an_endless_file_is_refused(stage: &Stage) -> Verdict {
    let program = stage.program(Act::SparseFile { gib: 1024 })?;
    let instance = stage.start().await;
    let files = stage.files(&instance)?;
    let is_made = run(instance.as_ref(), program).await == Some(json!(true));
    if is_made {
        refused(&read(files, "/work/sparse", MIB).await, &[RefusalCode::TooLarge]);
    }

    for path in ["/dev/zero", "/dev/urandom", "/proc/self/mem"] {
        refused(
            &read(files, path, MIB).await,
            &[
                RefusalCode::TooLarge,
                RefusalCode::Invalid,
                RefusalCode::NotFound,
                RefusalCode::Io,
            ],
        );
    }
    stop(instance.as_ref()).await;
    Ok(())
}

/// What is not there is named so.
pub async fn a_file_that_is_not_there_is_refused(stage: &Stage) -> Verdict {
    let instance = stage.start().await;
    let files = stage.files(&instance)?;
    for path in ["/work/nothing", "/nowhere/at/all"] {
        refused(&read(files, path, MIB).await, &[RefusalCode::NotFound]);
    }
    for path in ["", "relative", "../work/x"] {
        refused(&read(files, path, MIB).await, NO_FILE);
        refused(&write(files, path, &Bytes::from_static(b"x")).await, NO_FILE);
    }
    stop(instance.as_ref()).await;
    Ok(())
}

/// What cannot be a file is refused: a folder, a text with NUL, a name that is too long, a file in no folder.
pub async fn a_path_that_cannot_be_a_file_is_refused(stage: &Stage) -> Verdict {
    let program = stage.program(Act::DeepFolders(1))?;
    let instance = stage.start().await;
    let files = stage.files(&instance)?;
    run(instance.as_ref(), program).await;
    let (folder, long) = (
        format!("/work/{}", "d".repeat(100)),
        format!("/work/{}", "x".repeat(5_000)),
    );

    for path in ["/work", &folder, &long, "/work/\0", "/work/no/folder/file"] {
        refused(&read(files, path, MIB).await, NO_FILE);
        refused(&write(files, path, &Bytes::from_static(b"x")).await, NO_FILE);
    }
    stop(instance.as_ref()).await;
    Ok(())
}

/// A FIFO without a writer, or without a reader, holds nobody up.
pub async fn a_fifo_holds_nobody_up(stage: &Stage) -> Verdict {
    let instance = stage.start().await;
    let files = stage.files(&instance)?;
    let running = stage.begin(&instance, stage.program(odd_files("/nowhere"))?);
    running.wait_for_line("ready").await;
    refused(&read(files, "/work/fifo", MIB).await, NO_FILE);
    refused(
        &write(files, "/work/fifo", &Bytes::from_static(b"x")).await,
        NO_FILE,
    );

    write(files, "/work/after", &Bytes::from_static(b"x"))
        .await
        .expect("the agent still answers");
    stop(instance.as_ref()).await;
    drop(running.end().await);
    Ok(())
}

/// A symbolic link leads to a place in the guest, or nowhere: never to one on the host.
pub async fn a_link_does_not_lead_out(stage: &Stage) -> Verdict {
    let program = stage.program(odd_files(stage.bait().await.at("CANARY")))?;
    let instance = stage.start().await;
    let files = stage.files(&instance)?;
    let running = stage.begin(&instance, program);
    running.wait_for_line("ready").await;

    let got = read(files, "/work/link", MIB).await;
    assert!(got.is_err(), "the link led to {got:?}");
    let written = write(files, "/work/link", &Bytes::from_static(b"changed")).await;
    stage.note(format!("a write through the link: {written:?}"));

    stop(instance.as_ref()).await;
    drop(running.end().await);
    stage.bait().await.expect_untouched().await;
    Ok(())
}

/// Absolute paths are paths of the guest.
pub async fn paths_of_the_host_lead_nowhere(stage: &Stage) -> Verdict {
    let canary = stage.bait().await.at("CANARY").to_owned();
    let instance = stage.start().await;
    let files = stage.files(&instance)?;

    for path in [
        canary.clone(),
        format!("/work/../../../../..{canary}"),
        format!("/proc/1/root{canary}"),
    ] {
        let got = read(files, &path, MIB).await;
        assert!(got.is_err(), "{path} led to {got:?}");
        let _ = write(files, &path, &Bytes::from_static(b"changed")).await;
    }

    stop(instance.as_ref()).await;
    stage.bait().await.expect_untouched().await;
    Ok(())
}

/// What is written into folders of the system reaches neither the host nor another instance.
pub async fn what_is_shared_is_not_written_through_the_agent(stage: &Stage) -> Verdict {
    let name = format!("vulcan-conformance-{:032x}", random());
    let (instance, other) = (stage.start().await, stage.start().await);
    let (files, others) = (stage.files(&instance)?, stage.files(&other)?);

    for folder in ["/usr/bin", "/usr/lib", "/etc", "/bin", "/lib", "/dev"] {
        let path = format!("{folder}/{name}");
        let written = write(files, &path, &Bytes::from_static(b"x")).await;
        stage.note(format!("{folder}: {written:?}"));
        assert!(
            !std::path::Path::new(&path).exists(),
            "{path} is on the host now; remove it"
        );
        assert!(
            read(others, &path, MIB).await.is_err(),
            "another instance sees {path}"
        );
    }
    stop(instance.as_ref()).await;
    stop(other.as_ref()).await;
    Ok(())
}

/// Runs a program in an instance that goes on living, and returns its output.
async fn run(instance: &dyn Instance, program: Program) -> Option<Value> {
    let mut invocation = invocation(program);
    invocation.mode = InvokeMode::Beside;
    let (sink, _chunks) = mpsc::channel(16);
    match within("a program", instance.invoke(invocation, sink)).await {
        Ok(outcome) => outcome.output,
        Err(error) => panic!("the invocation failed: {error:?}"),
    }
}

async fn read(files: &dyn Files, path: &str, bytes_max: usize) -> Result<Bytes, BackendError> {
    within("a file", files.read(path, bytes_max)).await
}

async fn write(files: &dyn Files, path: &str, bytes: &Bytes) -> Result<(), BackendError> {
    within("a file", files.write(path, 0o640, bytes.clone())).await
}

fn refused<T: std::fmt::Debug>(result: &Result<T, BackendError>, codes: &[RefusalCode]) {
    let is_refused = matches!(result, Err(BackendError::Refused { code, .. }) if codes.contains(code));
    assert!(is_refused, "not refused as one of {codes:?}: {result:?}");
}

fn odd_files(target: &str) -> Act {
    Act::MakeOddFiles {
        fifo: "/work/fifo".to_owned(),
        link: "/work/link".to_owned(),
        target: target.to_owned(),
    }
}
