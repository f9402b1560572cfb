//! Claims about the runtimes without a shim.

use vulcan_guest_protocol::{ExitStatus, GuestRuntime, ProgramMode, RefusalCode};

use crate::guest::{Guest, Run};

#[test]
fn a_bash_script_has_its_arguments_its_input_and_its_variables() {
    let code = "read -r line; echo \"$0|$1|$line|$GREETING|$HOME|$PWD\"; echo oops >&2; exit 3";
    let run = Run::file(GuestRuntime::Bash, "main.sh", code)
        .input("{\"a\": 1}\n")
        .args(&["two words"])
        .env("GREETING", "hi");
    let mut guest = Guest::start();
    let work = guest.work().display().to_string();

    let answer = guest.run(&run);

    assert_eq!(
        answer.stdout(),
        format!("{work}/main.sh|two words|{{\"a\": 1}}|hi|{work}|{work}\n")
    );
    assert_eq!(answer.stderr(), "oops\n");
    assert_eq!(answer.exited().status, ExitStatus::Code(3));
    assert_eq!(
        (answer.exited().mode, &answer.exited().error),
        (ProgramMode::Script, &None)
    );
}

#[test]
fn a_syntax_error_of_a_bash_script_is_told_by_bash() {
    let answer = Guest::start().run(&Run::file(GuestRuntime::Bash, "main.sh", "if true; then\n"));
    assert_eq!(answer.exited().status, ExitStatus::Code(2));
    assert!(
        answer.stderr().contains("syntax error: unexpected end of file"),
        "{}",
        answer.stderr()
    );
}

#[test]
fn a_binary_is_executed_as_it_is() {
    let run = Run::archive(
        GuestRuntime::Binary,
        "bin/tool",
        &[("bin/tool", "#!/bin/sh\necho \"$@\"; exit 7\n")],
    );
    let answer = Guest::start().run(&run.args(&["a", "b"]));
    assert_eq!(answer.stdout(), "a b\n");
    assert_eq!(answer.exited().status, ExitStatus::Code(7));
}

#[test]
fn a_file_that_is_no_executable_is_refused() {
    let answer = Guest::start().run(&Run::file(GuestRuntime::Binary, "tool", "just text"));
    let refusal = answer.refusal.unwrap();
    assert_eq!(refusal.code, RefusalCode::Invalid);
    assert!(
        refusal.message.contains("Exec format error"),
        "{}",
        refusal.message
    );
    assert!(!answer.is_started);
}

#[test]
fn a_go_file_and_a_go_folder_become_programs() {
    let main = "package main\n\nfunc main() { print(greeting) }\n";
    let single = "package main\n\nconst greeting = \"hi\"\n\nfunc main() { print(greeting) }\n";
    let greeting = ("greeting.go", "package main\n\nconst greeting = \"hi\"\n");
    for run in [
        Run::file(GuestRuntime::GoBuild, "main.go", single),
        Run::archive(GuestRuntime::GoBuild, "main.go", &[("main.go", main), greeting]),
        Run::archive(
            GuestRuntime::GoBuild,
            "cmd/main.go",
            &[
                ("go.mod", "module example\n\ngo 1.18\n"),
                (
                    "cmd/main.go",
                    "package main\n\nimport \"example/lib\"\n\nfunc main() { print(lib.Greeting) }\n",
                ),
                ("lib/lib.go", "package lib\n\nconst Greeting = \"hi\"\n"),
            ],
        ),
    ] {
        let mut guest = Guest::start();
        let answer = guest.run(&run);
        assert_eq!(answer.exited().status, ExitStatus::Code(0), "{}", answer.stderr());
        let output = std::process::Command::new(guest.work().join("out/program"))
            .output()
            .unwrap();
        assert_eq!(output.stderr, b"hi");
    }
}

#[test]
fn a_go_program_that_does_not_compile_says_why() {
    let answer = Guest::start().run(&Run::file(
        GuestRuntime::GoBuild,
        "main.go",
        "package main\n\nfunc main() { x }\n",
    ));
    assert_eq!(answer.exited().status.shell_code(), 2);
    assert!(
        answer.stderr().contains("main.go:3:15: undefined: x"),
        "{}",
        answer.stderr()
    );
}

#[test]
fn code_goes_into_folders_of_its_name_and_nowhere_else() {
    let answer = Guest::start().run(&Run::file(GuestRuntime::Bash, "a/b/main.sh", "echo $0"));
    assert!(answer.stdout().ends_with("/work/a/b/main.sh\n"));

    for name in ["../main.sh", "/main.sh", "a/../../main.sh", ""] {
        let mut guest = Guest::start();
        let refusal = guest
            .run(&Run::file(GuestRuntime::Bash, name, "echo"))
            .refusal
            .unwrap();
        assert_eq!(refusal.code, RefusalCode::Invalid, "{name}");
    }
}

#[test]
fn more_code_or_input_than_the_limit_is_refused_before_it_comes() {
    let mut guest = Guest::start();
    for (code_bytes, input_bytes) in [(u64::MAX, 0), (0, 65 * 1024 * 1024)] {
        let mut run = Run::file(GuestRuntime::Bash, "main.sh", "");
        run.invoke.code_bytes = code_bytes;
        run.invoke.input_bytes = input_bytes;
        assert_eq!(guest.run(&run).refusal.unwrap().code, RefusalCode::TooLarge);
    }
}
