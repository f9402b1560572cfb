//! How programs end.

use vulcan_api::{ErrorCode, Resources};
use vulcan_guest_protocol::ExitStatus;

use crate::conformance::{Act, Stage, Verdict};

/// The numbers of SIGABRT, SIGKILL, SIGSEGV and SIGTERM on every Linux (`man 7 signal`).
const SIGNALS: [i32; 4] = [6, 9, 11, 15];

/// Exit codes are exact; every code but 0 is the program's failure.
pub async fn an_exit_code_arrives_as_it_is(stage: &Stage) -> Verdict {
    for code in [0, 1, 3, 127, 255] {
        let ended = stage.run(Act::Exit(code)).await?;

        assert_eq!(ended.outcome().status, ExitStatus::Code(code));
        let error = ended.outcome().error.as_ref().map(|error| error.code);
        assert_eq!(
            error,
            (code != 0).then_some(ErrorCode::ExitCode),
            "exit code {code}"
        );
    }
    Ok(())
}

/// A program that a signal ended is not mistaken for one that ended by itself, or ran out of memory.
pub async fn a_signal_arrives_as_it_is(stage: &Stage) -> Verdict {
    for signal in SIGNALS {
        let ended = stage.run(Act::Signal(signal)).await?;

        assert_eq!(ended.outcome().status, ExitStatus::Signal(signal));
        ended.failed_with(ErrorCode::Signal);
    }
    Ok(())
}

/// A syntax error is a failure of the program, with the interpreter's own words: they name the file.
pub async fn a_program_that_does_not_parse_is_the_programs_failure(stage: &Stage) -> Verdict {
    let program = stage.program(Act::Unparsable)?;
    let file = program.code.entrypoint().to_owned();

    let ended = stage.run_program(program, Resources::default()).await;

    let outcome = ended.outcome();
    assert!(outcome.error.is_some(), "{outcome:?}");
    assert_ne!(outcome.status, ExitStatus::Code(0));
    let words = format!("{:?} {}", outcome.error, ended.logs.describe());
    assert!(
        words.contains(&file),
        "the interpreter does not name {file}: {words}"
    );
    Ok(())
}
