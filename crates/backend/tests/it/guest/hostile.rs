//! A guest that lies, stalls, floods and dies.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;
use tokio::sync::mpsc;
use vulcan_api::{ErrorCode, LogStream, Runtime, WorkloadError};
use vulcan_backend::{BackendError, ExecRequest, GuestClient, Invocation};
use vulcan_guest_protocol::{
    DATA_BYTES_MAX, ExitStatus, GuestFrame, HostFrame, Invoke, ProgramMode, Refusal, RefusalCode, Welcome,
};

use super::scripted::{PATIENCE, Running, answered, connected, exited, failed, invocation, pair, welcome};

fn python() -> Invocation {
    invocation(Runtime::Python, "code", "null")
}

fn handler(output: &[u8]) -> Vec<GuestFrame> {
    vec![
        GuestFrame::Started,
        GuestFrame::Output(output.to_vec()),
        exited(ProgramMode::Handler, ExitStatus::Code(0)),
    ]
}

fn script(stdout: &[u8], status: ExitStatus) -> Vec<GuestFrame> {
    vec![
        GuestFrame::Started,
        GuestFrame::Stdout(stdout.to_vec()),
        exited(ProgramMode::Script, status),
    ]
}

async fn connect_to(answer: Vec<u8>) -> BackendError {
    let (ours, mut guest) = pair();
    let (result, ()) = tokio::join!(GuestClient::connect(ours, PATIENCE), async move {
        guest.send_raw(&answer).await;
        drop(guest);
    });
    result.unwrap_err()
}

fn bytes(channel: u32, frame: &GuestFrame) -> Vec<u8> {
    use vulcan_guest_protocol::Direction;
    let mut bytes = Vec::new();
    frame.encode(channel, &mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn a_handshake_that_is_none_is_refused() {
    let of_generation = |generation| {
        GuestFrame::Welcome(Welcome {
            generation,
            agent: "a".into(),
        })
    };
    for answer in [
        bytes(0, &GuestFrame::Done),
        bytes(1, &welcome()),
        bytes(0, &of_generation(0)),
        bytes(0, &of_generation(9)),
        vec![0xff; 64],
    ] {
        let error = connect_to(answer).await;
        assert!(matches!(error, BackendError::Protocol { .. }), "{error}");
    }
    assert!(matches!(connect_to(Vec::new()).await, BackendError::Lost { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_never_answers_is_given_up_at_the_deadline() {
    let (ours, _guest) = pair();
    let error = GuestClient::connect(ours, Duration::from_secs(5))
        .await
        .unwrap_err();
    assert!(matches!(error, BackendError::Deadline { .. }), "{error}");
}

#[tokio::test]
async fn a_handlers_result_is_the_output() {
    let (result, _) = answered(python(), handler(br#"{"a": [1, 0.1]}"#)).await;
    let outcome = result.unwrap();
    assert_eq!(outcome.output, Some(json!({"a": [1, 0.1]})));
    assert_eq!((outcome.status, outcome.error), (ExitStatus::Code(0), None));
}

#[tokio::test]
async fn numbers_come_back_as_they_were() {
    let (result, _) = answered(python(), handler(b"-1.25e300")).await;
    assert_eq!(result.unwrap().output, Some(json!(-1.25e300)));
}

#[tokio::test]
async fn a_result_that_is_no_json_is_the_programs_failure() {
    let deep = "[".repeat(1000);
    for output in [
        "NaN",
        "1e999",
        "{",
        "1 2",
        "\"\\ud800\"",
        "{\"a\":1,}",
        deep.as_str(),
        "\u{1}",
    ] {
        let (result, _) = answered(python(), handler(output.as_bytes())).await;
        let outcome = result.unwrap();
        assert_eq!(outcome.output, None, "{output}");
        assert_eq!(outcome.error.unwrap().code, ErrorCode::OutputInvalid, "{output}");
    }
    let (result, _) = answered(python(), handler(b"\"\xff\"")).await;
    assert_eq!(result.unwrap().error.unwrap().code, ErrorCode::OutputInvalid);
}

#[tokio::test]
async fn a_handler_that_never_returned_is_a_failure_whatever_the_exit_code() {
    let frames = vec![
        GuestFrame::Started,
        exited(ProgramMode::Handler, ExitStatus::Code(0)),
    ];
    let (result, _) = answered(python(), frames).await;
    let error = result.unwrap().error.unwrap();
    assert_eq!(
        error,
        WorkloadError::new(
            ErrorCode::Exception,
            "the program ended before its handler returned"
        )
    );
}

#[tokio::test]
async fn frames_out_of_order_end_the_conversation() {
    let over = exited(ProgramMode::Script, ExitStatus::Code(0));
    let impossible = exited(ProgramMode::Script, ExitStatus::Code(256));
    let no_signal = exited(ProgramMode::Script, ExitStatus::Signal(65));
    let refusal = GuestFrame::Refused(Refusal {
        code: RefusalCode::Io,
        message: String::new(),
    });
    for frames in [
        vec![GuestFrame::Stdout(b"x".to_vec())],
        vec![GuestFrame::Output(b"1".to_vec())],
        vec![over.clone()],
        vec![GuestFrame::Started, GuestFrame::Started],
        vec![GuestFrame::Started, refusal],
        vec![GuestFrame::Started, GuestFrame::Done],
        vec![GuestFrame::Started, GuestFrame::FileData(Vec::new())],
        vec![GuestFrame::Started, welcome()],
        vec![GuestFrame::Started, GuestFrame::Output(b"1".to_vec()), over],
        vec![GuestFrame::Started, impossible],
        vec![GuestFrame::Started, no_signal],
        vec![GuestFrame::Started, GuestFrame::Output(vec![b'1'; 1001])],
        vec![
            GuestFrame::Started,
            GuestFrame::Stdout(vec![b'1'; DATA_BYTES_MAX + 1]),
        ],
        std::iter::repeat_n(GuestFrame::System(b"x".to_vec()), 65).collect(),
    ] {
        let described = format!("{:.200}", format!("{frames:?}"));
        let (result, _) = answered(python(), frames).await;
        let error = result.unwrap_err();
        assert!(
            matches!(error, BackendError::Protocol { .. }),
            "{described}: {error}"
        );
    }
}

#[tokio::test]
async fn frames_on_channels_that_are_not_open_end_the_conversation() {
    for (channel, frame) in [
        (0, GuestFrame::Stdout(b"x".to_vec())),
        (0, welcome()),
        (7, GuestFrame::Stdout(b"x".to_vec())),
        (u32::MAX, GuestFrame::Done),
    ] {
        let (client, mut guest) = connected().await;
        let running = Running::begin(&client, python());
        guest.next_frame().await.unwrap();
        guest.send(channel, frame).await;
        let (result, _) = running.end().await;
        assert!(matches!(result, Err(BackendError::Protocol { .. })));
        assert!(matches!(client.closed().await, BackendError::Protocol { .. }));
        // What comes later is refused at once, and the stream is closed.
        let (result, _) = Running::begin(&client, python()).end().await;
        assert!(matches!(result, Err(BackendError::Protocol { .. })));
        guest.until_left().await;
    }
}

#[tokio::test]
async fn a_second_end_of_a_program_ends_the_conversation() {
    let (client, mut guest) = connected().await;
    let running = Running::begin(&client, python());
    let (channel, _) = guest.next_frame().await.unwrap();
    for frame in script(b"1", ExitStatus::Code(0)) {
        guest.send(channel, frame).await;
    }
    running.end().await.0.unwrap();

    guest
        .send(channel, exited(ProgramMode::Script, ExitStatus::Code(0)))
        .await;

    assert!(matches!(client.closed().await, BackendError::Protocol { .. }));
}

#[tokio::test]
async fn lies_about_another_program_do_not_reach_it() {
    let (client, mut guest) = connected().await;
    let first = Running::begin(&client, python());
    let (one, _) = guest.next_frame().await.unwrap();
    while !matches!(guest.next_frame().await.unwrap().1, HostFrame::Data(data) if data == b"null") {}
    let second = Running::begin(&client, python());
    let (two, _) = guest.next_frame().await.unwrap();

    for frame in handler(b"2") {
        guest.send(two, frame).await;
    }
    for frame in handler(b"1") {
        guest.send(one, frame).await;
    }

    assert_eq!(first.end().await.0.unwrap().output, Some(json!(1)));
    assert_eq!(second.end().await.0.unwrap().output, Some(json!(2)));
}

#[tokio::test]
async fn a_guest_that_dies_is_lost() {
    let (client, mut guest) = connected().await;
    let running = Running::begin(&client, python());
    let (channel, _) = guest.next_frame().await.unwrap();
    guest.send(channel, GuestFrame::Started).await;
    // Half a frame is none.
    guest.send_raw(&[5, 0, 0]).await;
    drop(guest);

    let (result, _) = running.end().await;

    assert!(matches!(result, Err(BackendError::Lost { .. })));
    assert!(matches!(client.closed().await, BackendError::Lost { .. }));
}

#[tokio::test]
async fn what_a_dying_guest_still_said_is_taken() {
    let (client, mut guest) = connected().await;
    let mut large = python();
    // More than the stream holds: the host is still writing when the guest has answered and gone.
    large.program.input = Bytes::from(vec![b' '; 1_000_000]);
    let running = Running::begin(&client, large);
    let (channel, _) = guest.next_frame().await.unwrap();
    for frame in handler(b"1") {
        guest.send(channel, frame).await;
    }
    drop(guest);

    assert_eq!(running.end().await.0.unwrap().output, Some(json!(1)));
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_no_channel_behind() {
    let (client, mut guest) = connected().await;
    for _ in 0..200 {
        let running = Running::begin(&client, python());
        let (channel, _) = loop {
            let found = guest.next_frame().await.unwrap();
            if matches!(found.1, HostFrame::Invoke(_)) {
                break found;
            }
        };
        running.abandon().await;
        // Nobody wants it, and it is no violation.
        for frame in script(b"late", ExitStatus::Code(0)) {
            guest.send(channel, frame).await;
        }
    }
    let running = Running::begin(&client, python());
    let channel = loop {
        let (channel, frame) = guest.next_frame().await.unwrap();
        if matches!(frame, HostFrame::Invoke(_)) {
            break channel;
        }
    };
    for frame in handler(b"1") {
        guest.send(channel, frame).await;
    }
    running.end().await.0.unwrap();
}

#[tokio::test]
async fn more_requests_than_the_guest_takes_are_refused_by_the_host() {
    let (client, _guest) = connected().await;
    let running: Vec<Running> = (0..64).map(|_| Running::begin(&client, python())).collect();
    tokio::time::timeout(PATIENCE, async {
        loop {
            match client.read_file("/etc/hostname", 1).now_or_pending().await {
                Some(Err(BackendError::Exhausted { .. })) => return,
                _ => tokio::task::yield_now().await,
            }
        }
    })
    .await
    .unwrap();
    drop(running);
}

/// Looks at a future once.
trait NowOrPending: Future + Sized {
    async fn now_or_pending(self) -> Option<Self::Output> {
        let mut future = std::pin::pin!(self);
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match future.as_mut().poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}

impl<F: Future> NowOrPending for F {}

#[tokio::test]
async fn a_slow_reader_of_logs_holds_the_guest_up_and_loses_nothing() {
    let (client, mut guest) = connected().await;
    let (sink, mut logs) = mpsc::channel(1);
    let call = Arc::clone(&client);
    let task = tokio::spawn(async move { call.invoke(python(), sink).await });
    let (channel, _) = guest.next_frame().await.unwrap();
    let flood = tokio::spawn(async move {
        guest.send(channel, GuestFrame::Started).await;
        for number in 0..200_u8 {
            guest
                .send(channel, GuestFrame::Stdout(vec![number; 50_000]))
                .await;
        }
        guest
            .send(channel, exited(ProgramMode::Script, ExitStatus::Code(0)))
            .await;
        guest
    });
    // 10 MB do not fit into anything between; the flood must wait.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!flood.is_finished());

    let mut received = Vec::new();
    while let Some(chunk) = logs.recv().await {
        received.push((chunk.bytes[0], chunk.bytes.len()));
    }

    task.await.unwrap().unwrap();
    let expected: Vec<(u8, usize)> = (0..200).map(|number| (number, 50_000)).collect();
    assert_eq!(received, expected);
}

#[tokio::test]
async fn a_reader_of_logs_that_is_gone_is_no_error() {
    let (client, mut guest) = connected().await;
    let (sink, logs) = mpsc::channel(1);
    drop(logs);
    let call = Arc::clone(&client);
    let task = tokio::spawn(async move { call.invoke(python(), sink).await });
    let (channel, _) = guest.next_frame().await.unwrap();
    for frame in script(b"x", ExitStatus::Code(0)) {
        guest.send(channel, frame).await;
    }
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn logs_keep_their_stream_and_their_bytes() {
    let frames = vec![
        GuestFrame::System(b"remark".to_vec()),
        GuestFrame::Started,
        GuestFrame::Stdout(b"\x1b[31mred\r\n\xff".to_vec()),
        GuestFrame::Stderr(b"[system] forged".to_vec()),
        exited(ProgramMode::Script, ExitStatus::Code(0)),
    ];
    let (_, logs) = answered(python(), frames).await;
    let logs: Vec<_> = logs
        .into_iter()
        .map(|chunk| (chunk.stream, chunk.bytes))
        .collect();
    assert_eq!(
        logs,
        [
            (LogStream::System, Bytes::from_static(b"remark")),
            (LogStream::Stdout, Bytes::from_static(b"\x1b[31mred\r\n\xff")),
            (LogStream::Stderr, Bytes::from_static(b"[system] forged")),
        ]
    );
}

#[tokio::test]
async fn errors_of_the_shim_are_told_and_capped() {
    let frames = |code: &str, message: String, stack| vec![GuestFrame::Started, failed(code, message, stack)];

    let (result, _) = answered(
        python(),
        frames("exception", "E: \u{7}".into(), Some("at".into())),
    )
    .await;
    let error = result.unwrap().error.unwrap();
    assert_eq!(
        error,
        WorkloadError {
            code: ErrorCode::Exception,
            message: "E: \u{7}".into(),
            stack: Some("at".into())
        }
    );

    let (result, _) = answered(
        python(),
        frames("no such code", "é".repeat(50_000), Some("é".repeat(100_000))),
    )
    .await;
    let error = result.unwrap().error.unwrap();
    assert_eq!(error.code, ErrorCode::Exception);
    assert!(error.message.len() < 9_000 && error.message.ends_with("… (cut)"));
    assert!(error.stack.unwrap().len() < 66_000);

    let (result, _) = answered(python(), frames("output_invalid", "m".into(), None)).await;
    assert_eq!(result.unwrap().error.unwrap().code, ErrorCode::OutputInvalid);

    let (result, _) = answered(python(), frames("output_too_large", "m".into(), None)).await;
    assert_eq!(
        result.unwrap().error.unwrap(),
        WorkloadError::new(
            ErrorCode::OutputTooLarge,
            "the output is larger than the 1000 bytes that are allowed"
        )
    );
}

#[tokio::test]
async fn the_output_of_a_script_is_its_standard_output() {
    let (result, _) = answered(python(), script(b" {\"a\": 1}\n", ExitStatus::Code(0))).await;
    let outcome = result.unwrap();
    assert_eq!((outcome.output, outcome.error), (Some(json!({"a": 1})), None));

    let (result, _) = answered(python(), script(b"[1]", ExitStatus::Code(3))).await;
    let outcome = result.unwrap();
    assert_eq!(outcome.output, Some(json!([1])));
    assert_eq!(
        outcome.error,
        Some(WorkloadError::new(
            ErrorCode::ExitCode,
            "the program ended with exit code 3"
        ))
    );

    let (result, _) = answered(
        python(),
        script(
            format!("\"{}\"", "x".repeat(1000)).as_bytes(),
            ExitStatus::Code(0),
        ),
    )
    .await;
    assert_eq!(result.unwrap().error.unwrap().code, ErrorCode::OutputTooLarge);

    let (result, _) = answered(python(), script(b"", ExitStatus::Signal(11))).await;
    assert_eq!(
        result.unwrap().error,
        Some(WorkloadError::new(
            ErrorCode::Signal,
            "killed by signal 11 (SIGSEGV)"
        ))
    );
}

#[tokio::test]
async fn a_compiler_and_a_shell_speak_for_themselves() {
    let frames = |status| {
        vec![
            GuestFrame::Started,
            GuestFrame::Stderr(b"# command-line-arguments\n./main.go:3:1: undefined: x\n".to_vec()),
            exited(ProgramMode::Script, status),
        ]
    };
    let (result, _) = answered(invocation(Runtime::Go, "code", ""), frames(ExitStatus::Code(2))).await;
    let error = result.unwrap().error.unwrap();
    assert_eq!(error.code, ErrorCode::CompileFailed);
    assert!(
        error.message.ends_with("main.go:3:1: undefined: x"),
        "{}",
        error.message
    );

    let (result, _) = answered(invocation(Runtime::Bash, "code", ""), frames(ExitStatus::Code(2))).await;
    let error = result.unwrap().error.unwrap();
    assert_eq!(error.message, "the program ended with exit code 2");
    assert!(error.stack.unwrap().contains("undefined: x"));
}

#[tokio::test]
async fn a_refusal_says_whose_fault_it_is() {
    let refused = |code| {
        vec![GuestFrame::Refused(Refusal {
            code,
            message: "because".into(),
        })]
    };
    for code in [RefusalCode::Invalid, RefusalCode::TooLarge, RefusalCode::Io] {
        let (result, _) = answered(python(), refused(code)).await;
        let outcome = result.unwrap();
        assert_eq!(outcome.status, ExitStatus::Code(126));
        assert_eq!(
            outcome.error,
            Some(WorkloadError::new(ErrorCode::Exception, "because"))
        );
    }
    let (result, _) = answered(python(), refused(RefusalCode::NotFound)).await;
    assert!(matches!(
        result,
        Err(BackendError::RuntimeUnavailable {
            runtime: Runtime::Python,
            ..
        })
    ));
    let (result, _) = answered(python(), refused(RefusalCode::Busy)).await;
    assert!(matches!(result, Err(BackendError::Refused { .. })));
}

#[tokio::test]
async fn a_file_longer_than_asked_for_ends_the_conversation() {
    let (client, mut guest) = connected().await;
    let call = Arc::clone(&client);
    let task = tokio::spawn(async move { call.read_file("/f", 4).await });
    let (channel, _) = guest.next_frame().await.unwrap();
    guest.send(channel, GuestFrame::FileData(b"1234".to_vec())).await;
    guest.send(channel, GuestFrame::FileData(b"5".to_vec())).await;
    assert!(matches!(task.await.unwrap(), Err(BackendError::Protocol { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_never_comes_is_given_up_at_the_deadline() {
    let (client, _guest) = connected().await;
    let error = client.read_file("/f", 4).await.unwrap_err();
    assert!(matches!(error, BackendError::Deadline { .. }), "{error}");
}

#[tokio::test]
async fn closing_stops_every_call() {
    let (client, mut guest) = connected().await;
    let running = Running::begin(&client, python());
    guest.next_frame().await.unwrap();

    client.close();
    client.close();

    assert!(matches!(running.end().await.0, Err(BackendError::Stopped)));
    assert!(matches!(client.closed().await, BackendError::Stopped));
    guest.until_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_the_guest_ignores_ends_at_its_deadline() {
    let (client, mut guest) = connected().await;
    client.shutdown(Duration::from_secs(1)).await;
    assert!(matches!(guest.next_frame().await, Some((0, HostFrame::Shutdown))));
    guest.until_left().await;
}

#[tokio::test]
async fn a_signal_goes_to_programs_that_run() {
    let (client, mut guest) = connected().await;
    client.signal(15).await.unwrap();
    let running = Running::begin(&client, python());
    let (channel, frame) = guest.next_frame().await.unwrap();
    assert!(matches!(frame, HostFrame::Invoke(_)), "nothing ran yet");
    guest.send(channel, GuestFrame::Started).await;
    guest.send(channel, GuestFrame::Stdout(b"x".to_vec())).await;
    let signalled = async {
        loop {
            client.signal(15).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let received = async {
        loop {
            if let Some((number, HostFrame::Signal(request))) = guest.next_frame().await {
                return (number, request.signal);
            }
        }
    };
    tokio::select! {
        () = signalled => {}
        found = received => assert_eq!(found, (channel, 15)),
    }
    drop(running);
}

#[tokio::test]
async fn a_request_arrives_whole_and_in_order() {
    let (client, mut guest) = connected().await;
    let code: String = "0123456789".repeat(30_000);
    let mut request = invocation(Runtime::Typescript, &code, "[1]");
    request.program.args = vec!["-x".into()];
    let running = Running::begin(&client, request);

    let Some((channel, HostFrame::Invoke(invoke))) = guest.next_frame().await else {
        panic!("no invoke");
    };
    let mut bytes = Vec::new();
    while bytes.len() < 300_003 {
        match guest.next_frame().await {
            Some((number, HostFrame::Data(data))) if number == channel => bytes.extend(data),
            other => panic!("{other:?}"),
        }
    }

    assert_eq!(bytes, format!("{code}[1]").into_bytes());
    let Invoke {
        code_bytes,
        input_bytes,
        args,
        timeout_ms,
        output_bytes_max,
        ..
    } = invoke;
    assert_eq!(
        (code_bytes, input_bytes, timeout_ms, output_bytes_max),
        (300_000, 3, 30_000, 1000)
    );
    assert_eq!(args, ["-x"]);
    drop(running);
}

#[tokio::test]
async fn a_request_that_does_not_fit_its_frame_is_refused_and_harms_nothing() {
    let (client, mut guest) = connected().await;
    let mut request = python();
    request.program.args = vec!["x".repeat(2_000_000)];
    let (result, _) = Running::begin(&client, request).end().await;
    assert!(matches!(
        result,
        Err(BackendError::Refused {
            code: RefusalCode::TooLarge,
            ..
        })
    ));

    let call = Arc::clone(&client);
    let request = ExecRequest {
        user: String::new(),
        argv: vec!["true".into()],
        env: std::collections::BTreeMap::new(),
        cwd: "/".into(),
        stdin: Bytes::new(),
    };
    let task = tokio::spawn(async move { call.exec(request, mpsc::channel(1).0).await });
    let (channel, _) = guest.next_frame().await.unwrap();
    guest.send(channel, GuestFrame::Started).await;
    guest
        .send(channel, exited(ProgramMode::Script, ExitStatus::Code(7)))
        .await;
    assert_eq!(task.await.unwrap().unwrap(), ExitStatus::Code(7));
}

fn any_frame() -> impl Strategy<Value = GuestFrame> {
    let data = prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        Just(GuestFrame::Started),
        Just(GuestFrame::Done),
        Just(welcome()),
        data.clone().prop_map(GuestFrame::Stdout),
        data.clone().prop_map(GuestFrame::Stderr),
        data.clone().prop_map(GuestFrame::System),
        data.clone().prop_map(GuestFrame::Output),
        data.prop_map(GuestFrame::FileData),
        any::<i32>().prop_map(|code| exited(ProgramMode::Handler, ExitStatus::Code(code))),
        any::<i32>().prop_map(|signal| exited(ProgramMode::Script, ExitStatus::Signal(signal))),
        ".{0,20}".prop_map(|text| failed(&text.clone(), text.clone(), Some(text))),
        ".{0,20}".prop_map(|message| GuestFrame::Refused(Refusal {
            code: RefusalCode::Io,
            message
        })),
    ]
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_frames_of_a_guest_bring_the_host_down(frames in prop::collection::vec((0_u32..3, any_frame()), 0..20)) {
        block_on(async {
            let (client, mut guest) = connected().await;
            let running = Running::begin(&client, python());
            guest.next_frame().await.unwrap();
            for (channel, frame) in frames {
                guest.send(channel, frame).await;
            }
            drop(guest);
            // Any end will do, as long as it comes.
            let _ = running.end().await;
            client.closed().await;
        });
    }

    #[test]
    fn no_bytes_of_a_guest_bring_the_host_down(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        block_on(async {
            let (client, mut guest) = connected().await;
            let running = Running::begin(&client, python());
            guest.next_frame().await.unwrap();
            guest.send_raw(&bytes).await;
            drop(guest);
            let _ = running.end().await;
            client.closed().await;
        });
    }
}
