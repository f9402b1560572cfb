//! The bytes of generation 1, frozen. A change here is a new generation, unless an old reader reads it alike.

use std::collections::BTreeMap;

use vulcan_guest_protocol::{
    CodeForm, Direction, Exec, ExitStatus, Exited, GuestError, GuestFrame, GuestRuntime, Hello, HostFrame,
    Invoke, InvokeMode, Prepare, ProgramMode, ReadFile, Refusal, RefusalCode, SignalRequest, Welcome,
    WriteFile,
};

fn wire(frame: &impl Direction) -> String {
    let mut bytes = Vec::new();
    frame.encode(5, &mut bytes).unwrap();
    bytes.escape_ascii().to_string()
}

#[test]
fn host_frames_are_as_frozen() {
    let frames = [
        HostFrame::Hello(Hello {
            generation_min: 2,
            generation_max: 2,
        }),
        HostFrame::Invoke(Invoke {
            command: None,
            workload: "wl_1".into(),
            runtime: GuestRuntime::Python,
            code_form: CodeForm::File,
            entrypoint: "main.py".into(),
            code_bytes: 10,
            input_bytes: 2,
            args: vec!["a".into()],
            env: BTreeMap::from([("K".into(), "v".into())]),
            output_bytes_max: 100,
            timeout_ms: 30_000,
            mode: InvokeMode::Once,
        }),
        HostFrame::Exec(Exec {
            user: String::new(),
            argv: vec!["ls".into()],
            env: BTreeMap::new(),
            cwd: "/".into(),
        }),
        HostFrame::ReadFile(ReadFile {
            path: "/f".into(),
            bytes_max: 9,
        }),
        HostFrame::WriteFile(WriteFile {
            path: "/f".into(),
            mode: 0o644,
            bytes: 9,
        }),
        HostFrame::Data(b"xyz".to_vec()),
        HostFrame::DataEnd,
        HostFrame::Signal(SignalRequest { signal: 15 }),
        HostFrame::Shutdown,
        HostFrame::Prepare(Prepare {
            runtime: GuestRuntime::Node,
        }),
    ];
    let text: Vec<String> = frames.iter().map(wire).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn guest_frames_are_as_frozen() {
    let frames = [
        GuestFrame::Welcome(Welcome {
            generation: 1,
            agent: "0.1.0".into(),
        }),
        GuestFrame::Started,
        GuestFrame::Stdout(b"o".to_vec()),
        GuestFrame::Stderr(b"e".to_vec()),
        GuestFrame::System(b"s".to_vec()),
        GuestFrame::Output(b"{}".to_vec()),
        GuestFrame::Exited(Exited {
            reusable: 0,
            status: ExitStatus::Signal(9),
            mode: ProgramMode::Handler,
            error: Some(GuestError {
                code: "exception".into(),
                message: "m".into(),
                stack: None,
            }),
        }),
        GuestFrame::FileData(b"f".to_vec()),
        GuestFrame::Done,
        GuestFrame::Refused(Refusal {
            code: RefusalCode::NotFound,
            message: "m".into(),
        }),
    ];
    let text: Vec<String> = frames.iter().map(wire).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn names_inside_the_frames_are_as_frozen() {
    let runtimes = [
        GuestRuntime::Python,
        GuestRuntime::Node,
        GuestRuntime::Typescript,
        GuestRuntime::Bash,
        GuestRuntime::Binary,
        GuestRuntime::GoBuild,
    ];
    let refusals = [
        RefusalCode::NotFound,
        RefusalCode::TooLarge,
        RefusalCode::Invalid,
        RefusalCode::Busy,
        RefusalCode::Io,
    ];
    insta::assert_snapshot!(
        serde_json::to_string(&(runtimes, refusals, [CodeForm::File, CodeForm::Archive], ProgramMode::Script, ExitStatus::Code(3))).unwrap(),
        @r#"[["python","node","typescript","bash","binary","go_build"],["not_found","too_large","invalid","busy","io"],["file","archive"],"script",{"code":3}]"#
    );
}
