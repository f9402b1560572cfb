//! Interpreters started ahead, and handlers that stay, as the client asks for them.

use std::{num::NonZeroU16, time::Duration};

use serde_json::json;
use vulcan_api::Runtime;
use vulcan_backend::{BackendError, Invocation, Outcome};
use vulcan_guest_protocol::{
    CodeForm, ExitStatus, Exited, GuestFrame, GuestRuntime, HostFrame, Invoke, InvokeMode, Prepare,
    ProgramMode, Refusal, RefusalCode,
};

use super::scripted::{Guest, PATIENCE, Running, connected, invocation};

fn warm(input: &str) -> Invocation {
    Invocation {
        mode: InvokeMode::Warm,
        ..invocation(Runtime::Python, "code", input)
    }
}

fn stays(reusable: u16) -> GuestFrame {
    GuestFrame::Exited(Exited {
        reusable,
        status: ExitStatus::Code(0),
        mode: ProgramMode::Handler,
        error: None,
    })
}

/// Returns the channel, the request and the input of the next call.
async fn next_call(guest: &mut Guest) -> (u32, Invoke, Vec<u8>) {
    let (channel, frame) = guest.next_frame().await.unwrap();
    let HostFrame::Invoke(invoke) = frame else {
        panic!("{frame:?}");
    };
    let mut data = Vec::new();
    while (data.len() as u64) < invoke.code_bytes + invoke.input_bytes {
        match guest.next_frame().await.unwrap() {
            (number, HostFrame::Data(piece)) if number == channel => data.extend(piece),
            other => panic!("{other:?}"),
        }
    }
    let code = usize::try_from(invoke.code_bytes).unwrap();
    (channel, invoke, data.split_off(code))
}

async fn answer(guest: &mut Guest, channel: u32, output: &str, reusable: u16) {
    guest
        .send(channel, GuestFrame::Output(output.as_bytes().to_vec()))
        .await;
    guest.send(channel, stays(reusable)).await;
}

async fn load(
    client: &std::sync::Arc<vulcan_backend::GuestClient>,
    guest: &mut Guest,
    reusable: u16,
) -> Outcome {
    let running = Running::begin(client, warm("1"));
    let (channel, invoke, _) = next_call(guest).await;
    assert_eq!(invoke.code_form, CodeForm::File);
    guest.send(channel, GuestFrame::Started).await;
    answer(guest, channel, "1", reusable).await;
    running.end().await.0.unwrap()
}

#[tokio::test]
async fn later_calls_send_only_their_input() {
    let (client, mut guest) = connected().await;
    let outcome = load(&client, &mut guest, 1).await;
    assert_eq!(outcome.reusable, NonZeroU16::new(1));

    let running = Running::begin(&client, warm("[2]"));
    let (channel, invoke, input) = next_call(&mut guest).await;
    answer(&mut guest, channel, "3", 1).await;

    assert_eq!((invoke.code_form, invoke.code_bytes), (CodeForm::Loaded, 0));
    assert_eq!((invoke.entrypoint.as_str(), invoke.args.len()), ("", 0));
    assert_eq!(input, b"[2]");
    let outcome = running.end().await.0.unwrap();
    assert_eq!(outcome.output, Some(json!(3)));
    assert_eq!(outcome.reusable, NonZeroU16::new(1));
}

#[tokio::test]
async fn a_guest_may_say_that_a_loaded_call_started() {
    let (client, mut guest) = connected().await;
    load(&client, &mut guest, 1).await;
    let running = Running::begin(&client, warm("2"));
    let (channel, ..) = next_call(&mut guest).await;
    guest.send(channel, GuestFrame::Started).await;
    answer(&mut guest, channel, "2", 1).await;
    assert_eq!(running.end().await.0.unwrap().output, Some(json!(2)));
}

#[tokio::test]
async fn a_guest_that_says_so_twice_breaks_the_protocol() {
    let (client, mut guest) = connected().await;
    load(&client, &mut guest, 1).await;
    let running = Running::begin(&client, warm("2"));
    let (channel, ..) = next_call(&mut guest).await;
    guest.send(channel, GuestFrame::Started).await;
    guest.send(channel, GuestFrame::Started).await;
    let error = running.end().await.0.unwrap_err();
    assert!(matches!(error, BackendError::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn after_the_end_of_the_handler_the_code_is_sent_again() {
    let (client, mut guest) = connected().await;
    load(&client, &mut guest, 1).await;
    let running = Running::begin(&client, warm("2"));
    let (channel, ..) = next_call(&mut guest).await;
    guest.send(channel, stays(0)).await;
    assert_eq!(running.end().await.0.unwrap().reusable, None);
    // It asserts that the code comes.
    load(&client, &mut guest, 1).await;
}

#[tokio::test]
async fn a_call_beside_the_loading_one_is_refused() {
    let (client, mut guest) = connected().await;
    let running = Running::begin(&client, warm("1"));
    let (channel, ..) = next_call(&mut guest).await;
    let (error, _) = Running::begin(&client, warm("2")).end().await;
    assert!(
        matches!(
            error,
            Err(BackendError::Refused {
                code: RefusalCode::Busy,
                ..
            })
        ),
        "{error:?}"
    );
    guest.send(channel, GuestFrame::Started).await;
    answer(&mut guest, channel, "1", 1).await;
    assert_eq!(running.end().await.0.unwrap().output, Some(json!(1)));
}

#[tokio::test]
async fn calls_of_a_handler_that_takes_several_may_overlap() {
    let (client, mut guest) = connected().await;
    load(&client, &mut guest, 2).await;
    let first = Running::begin(&client, warm("1"));
    let (first_channel, ..) = next_call(&mut guest).await;
    let second = Running::begin(&client, warm("2"));
    let (second_channel, ..) = next_call(&mut guest).await;
    answer(&mut guest, second_channel, "2", 2).await;
    assert_eq!(second.end().await.0.unwrap().output, Some(json!(2)));
    answer(&mut guest, first_channel, "1", 2).await;
    assert_eq!(first.end().await.0.unwrap().output, Some(json!(1)));
}

#[tokio::test]
async fn a_loaded_call_that_is_refused_never_ran() {
    let (client, mut guest) = connected().await;
    load(&client, &mut guest, 1).await;
    let running = Running::begin(&client, warm("2"));
    let (channel, ..) = next_call(&mut guest).await;
    let refusal = Refusal {
        code: RefusalCode::Busy,
        message: "a call runs".into(),
    };
    guest.send(channel, GuestFrame::Refused(refusal)).await;
    let error = running.end().await.0.unwrap_err();
    assert!(matches!(error, BackendError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn a_signal_reaches_a_call_that_nobody_said_had_started() {
    let (client, mut guest) = connected().await;
    load(&client, &mut guest, 1).await;
    let running = Running::begin(&client, warm("2"));
    let (channel, ..) = next_call(&mut guest).await;
    client.signal(15).await.unwrap();
    let (signalled, frame) = guest.next_frame().await.unwrap();
    assert!(matches!(frame, HostFrame::Signal(_)), "{frame:?}");
    assert_eq!(signalled, channel);
    guest.send(channel, stays(0)).await;
    running.end().await.0.unwrap();
}

#[tokio::test]
async fn a_one_shot_program_is_never_reusable() {
    let (client, mut guest) = connected().await;
    let running = Running::begin(&client, invocation(Runtime::Python, "code", "1"));
    let (channel, ..) = next_call(&mut guest).await;
    guest.send(channel, GuestFrame::Started).await;
    answer(&mut guest, channel, "1", 9).await;
    assert_eq!(running.end().await.0.unwrap().reusable, None);
}

#[tokio::test]
async fn an_interpreter_is_ready_when_the_guest_says_so() {
    let (client, mut guest) = connected().await;
    let (result, ()) = tokio::join!(client.prepare(Runtime::Python, PATIENCE), async {
        let (channel, frame) = guest.next_frame().await.unwrap();
        let runtime = GuestRuntime::Python;
        assert_eq!(frame, HostFrame::Prepare(Prepare { runtime }));
        guest.send(channel, GuestFrame::Done).await;
    });
    result.unwrap();
}

#[tokio::test]
async fn an_interpreter_that_cannot_be_started_ahead_says_why() {
    for (code, is_unavailable) in [
        (RefusalCode::NotFound, true),
        (RefusalCode::Invalid, true),
        (RefusalCode::Io, false),
    ] {
        let (client, mut guest) = connected().await;
        let (result, ()) = tokio::join!(client.prepare(Runtime::Bash, PATIENCE), async {
            let (channel, _) = guest.next_frame().await.unwrap();
            let message = "no".to_owned();
            guest
                .send(channel, GuestFrame::Refused(Refusal { code, message }))
                .await;
        });
        let error = result.unwrap_err();
        assert_eq!(
            matches!(error, BackendError::RuntimeUnavailable { .. }),
            is_unavailable,
            "{error}"
        );
        assert_eq!(
            matches!(error, BackendError::StartFailed { .. }),
            !is_unavailable,
            "{error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_interpreter_that_never_is_ready_is_given_up_at_the_deadline() {
    let (client, _guest) = connected().await;
    let error = client
        .prepare(Runtime::Python, Duration::from_secs(3))
        .await
        .unwrap_err();
    assert!(matches!(error, BackendError::Deadline { .. }), "{error}");
}
