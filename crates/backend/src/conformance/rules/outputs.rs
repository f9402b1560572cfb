//! What programs write: all of it arrives, in order, as it was written.

use tokio::sync::mpsc;
use vulcan_api::Resources;

use crate::{
    BackendError, LogChunk,
    conformance::{
        Act, Output, Stage, Verdict,
        stage::{invocation, own_memory_mib, stop, within},
    },
};

const TEN_MEGABYTES: usize = 10 * 1024 * 1024;
/// More than any queue on the way should hold.
const A_FLOOD: usize = 256 * 1024 * 1024;
/// How much the host's side may grow under a flood, in MiB; an eighth of the flood.
const GROWTH_MIB_MAX: u64 = 32;

/// Each stream keeps its order and loses no line.
pub async fn lines_arrive_whole_and_in_order_on_both_streams(stage: &Stage) -> Verdict {
    let lines: String = (0..2_000).map(|line| format!("line {line}\n")).collect();

    let ended = stage.run(Act::PrintOrdered { lines: 2_000 }).await?;

    ended.succeeded();
    assert_eq!(String::from_utf8_lossy(&ended.logs.stdout), lines);
    assert_eq!(String::from_utf8_lossy(&ended.logs.stderr), lines);
    Ok(())
}

/// A program that writes much and is gone at once loses nothing.
pub async fn ten_megabytes_arrive_though_the_program_is_gone_at_once(stage: &Stage) -> Verdict {
    for stream in [Output::Stdout, Output::Stderr] {
        let act = Act::Flood {
            bytes: TEN_MEGABYTES,
            stream,
        };
        let ended = stage.run(act).await?;

        ended.succeeded();
        let arrived = match stream {
            Output::Stdout => &ended.logs.stdout,
            Output::Stderr => &ended.logs.stderr,
        };
        assert_eq!(arrived.len(), TEN_MEGABYTES, "{stream:?}");
        assert!(
            arrived == &Act::flood(TEN_MEGABYTES),
            "{stream:?} arrived changed"
        );
    }
    Ok(())
}

/// The last line needs no end.
pub async fn output_without_a_line_end_arrives(stage: &Stage) -> Verdict {
    let ended = stage.run(print(b"no line end", Output::Stdout)).await?;

    ended.succeeded();
    assert_eq!(ended.logs.stdout, b"no line end");
    Ok(())
}

/// No byte has a meaning on the way: NUL, invalid UTF-8, all 256 of them.
pub async fn bytes_that_are_no_text_arrive_as_they_are(stage: &Stage) -> Verdict {
    let bytes: Vec<u8> = (0..=255)
        .chain(*b"\xff\xfe\xc3\x28\xed\xa0\x80\r\n\0\n")
        .collect();
    for stream in [Output::Stdout, Output::Stderr] {
        let ended = stage.run(print(&bytes, stream)).await?;

        ended.succeeded();
        let expected: (&[u8], &[u8]) = match stream {
            Output::Stdout => (&bytes, b""),
            Output::Stderr => (b"", &bytes),
        };
        assert_eq!(
            (ended.logs.stdout.as_slice(), ended.logs.stderr.as_slice()),
            expected
        );
    }
    Ok(())
}

/// Escape sequences for terminals are data like any other; whoever shows a log to a person takes care of them.
pub async fn terminal_escapes_arrive_as_data(stage: &Stage) -> Verdict {
    let bytes = b"\x1b]0;title\x07\x1b[2J\x1b[31mred\x1b[0m\x1bP+q\x1b\\\x9b31m\n";

    let ended = stage.run(print(bytes, Output::Stdout)).await?;

    ended.succeeded();
    assert_eq!(ended.logs.stdout, bytes);
    Ok(())
}

/// Nothing that a program writes to its streams becomes a line of the platform.
pub async fn a_program_cannot_forge_the_platforms_lines(stage: &Stage) -> Verdict {
    let forged: &[u8] = b"{\"stream\":\"system\",\"text\":\"forged\"}\nsystem: forged\n\0\0\0\x06\0\0\0\x01\x44\0\0\0forged\n";
    for stream in [Output::Stdout, Output::Stderr] {
        let ended = stage.run(print(forged, stream)).await?;

        ended.succeeded();
        let system = String::from_utf8_lossy(&ended.logs.system);
        assert!(!system.contains("forged"), "the platform says: {system}");
        let written = if stream == Output::Stdout {
            ended.logs.stdout
        } else {
            ended.logs.stderr
        };
        assert_eq!(written, forged);
    }
    Ok(())
}

/// A log reader that is gone is none of the program's business.
pub async fn a_reader_that_is_gone_does_not_harm_the_program(stage: &Stage) -> Verdict {
    let program = stage.program(Act::Flood {
        bytes: TEN_MEGABYTES,
        stream: Output::Stdout,
    })?;
    let instance = stage.start().await;
    let (sink, chunks) = mpsc::channel(1);
    drop(chunks);

    let outcome = within("the program", instance.invoke(invocation(program), sink)).await;

    assert_eq!(
        outcome
            .map(|outcome| outcome.error)
            .map_err(|error| error.to_string()),
        Ok(None)
    );
    stop(instance.as_ref()).await;
    Ok(())
}

/// A log reader that never reads holds up the program, and nothing is heaped up on the host.
pub async fn a_reader_that_never_reads_holds_up_the_program_and_not_the_host(stage: &Stage) -> Verdict {
    let program = stage.program(Act::EndlessLines)?;
    let before = own_memory_mib();
    let instance = stage.start().await;
    let (sink, mut chunks) = mpsc::channel(1);
    let task = tokio::spawn({
        let instance = instance.clone();
        async move { instance.invoke(invocation(program), sink).await }
    });
    within("the first output", chunks.recv())
        .await
        .expect("the program writes");

    // The instance still answers while its output is held up.
    for _ in 0..100 {
        within("the usage", instance.usage())
            .await
            .expect("the host can tell the usage");
        tokio::task::yield_now().await;
    }
    stop(instance.as_ref()).await;

    let result = within("the end of the invocation", task)
        .await
        .expect("an invocation does not panic");
    assert!(matches!(result, Err(BackendError::Stopped)), "{result:?}");
    expect_no_growth(before);
    Ok(())
}

/// A line without end is passed on piece by piece.
pub async fn a_line_without_end_is_never_held_in_memory(stage: &Stage) -> Verdict {
    flood(stage, Act::EndlessLine).await
}

/// Output without end is passed on as fast as it is read, and ends with the stop.
pub async fn output_without_end_is_never_held_in_memory(stage: &Stage) -> Verdict {
    flood(stage, Act::EndlessLines).await
}

async fn flood(stage: &Stage, act: Act) -> Verdict {
    let program = stage.program(act)?;
    let instance = stage.start_with(Resources::default()).await;
    let before = own_memory_mib();
    let (sink, mut chunks) = mpsc::channel::<LogChunk>(4);
    let task = tokio::spawn({
        let instance = instance.clone();
        async move { instance.invoke(invocation(program), sink).await }
    });
    let mut arrived = 0;
    while arrived < A_FLOOD {
        let chunk = within("more output", chunks.recv())
            .await
            .expect("the program writes for ever");
        arrived += chunk.bytes.len();
    }
    stop(instance.as_ref()).await;
    drop(chunks);
    let result = within("the end of the invocation", task)
        .await
        .expect("an invocation does not panic");
    assert!(matches!(result, Err(BackendError::Stopped)), "{result:?}");
    expect_no_growth(before);
    Ok(())
}

fn expect_no_growth(before_mib: u64) {
    let after = own_memory_mib();
    assert!(
        after <= before_mib + GROWTH_MIB_MAX,
        "the host's side grew from {before_mib} to {after} MiB"
    );
}

fn print(bytes: &[u8], stream: Output) -> Act {
    Act::PrintRaw {
        bytes: bytes.to_vec(),
        stream,
    }
}
