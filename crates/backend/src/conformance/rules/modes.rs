//! Handlers and scripts: what goes in, and what counts as the result.

use bytes::Bytes;
use serde_json::{Value, json};
use vulcan_api::{ErrorCode, Resources};
use vulcan_guest_protocol::ExitStatus;

use crate::conformance::{Act, Ended, Inexpressible, Output, Stage, Verdict, stage::OUTPUT_BYTES_MAX};

/// Quotes around a text in JSON.
const QUOTES: usize = 2;

/// Input and output are JSON values, unchanged by the way.
pub async fn a_handler_gets_its_input_and_gives_its_output(stage: &Stage) -> Verdict {
    let input = json!({
        "text": "ä€😀\u{0}\u{7f}\"\\\n\u{2028}", "ü": {"": [[], {}, [null, true, false]]},
        "numbers": [0, -1, 1.5, 1e300, 9_007_199_254_740_991_u64],
    });

    let ended = with_input(stage, Act::EchoInput, &input).await?;

    assert_eq!(ended.output(), &input);
    assert_eq!(ended.logs.stdout, b"", "the result is no part of the log");
    Ok(())
}

/// Integers keep all of their digits, up to those of 64 bits.
pub async fn integers_keep_their_digits(stage: &Stage) -> Verdict {
    let input = json!([9_007_199_254_740_993_u64, i64::MIN, u64::MAX]);

    let ended = with_input(stage, Act::EchoIntegers, &input).await?;

    assert_eq!(ended.output(), &input);
    Ok(())
}

/// No input is null.
pub async fn a_handler_without_input_gets_null(stage: &Stage) -> Verdict {
    let ended = with_input(stage, Act::EchoInput, &Value::Null).await?;

    assert_eq!(ended.output(), &Value::Null);
    Ok(())
}

/// A large input arrives whole.
pub async fn a_large_input_arrives_whole(stage: &Stage) -> Verdict {
    let input = Value::String("0123456789abcdef".repeat(OUTPUT_BYTES_MAX / 16 - 1));

    let ended = with_input(stage, Act::EchoInput, &input).await?;

    assert!(ended.output() == &input, "the input was changed");
    Ok(())
}

/// A script reads its input from standard input, and finds its end.
pub async fn a_script_gets_its_input_on_standard_input(stage: &Stage) -> Verdict {
    let input = json!({"a": [1, "ä"]});

    let ended = with_input(stage, Act::CopyInput, &input).await?;

    assert_eq!(ended.output(), &input);
    let written: Value = serde_json::from_slice(&ended.logs.stdout).expect("the copy is JSON");
    assert_eq!(written, input, "a script's output is in its log too");
    Ok(())
}

/// Standard output is a script's result only where all of it is one JSON value.
pub async fn a_scripts_output_is_its_result_only_as_one_json_value(stage: &Stage) -> Verdict {
    for (text, output) in [
        (" {\"a\": 1}\n\n", Some(json!({"a": 1}))),
        ("42", Some(json!(42))),
        ("{\"a\": 1}\n{\"b\": 2}\n", None),
        ("a word", None),
        ("NaN", None),
        ("", None),
    ] {
        let act = Act::PrintRaw {
            bytes: text.as_bytes().to_vec(),
            stream: Output::Stdout,
        };
        let ended = stage.run(act).await?;

        assert_eq!(ended.succeeded().output, output, "{text:?}");
    }
    Ok(())
}

/// A handler that throws fails the program, with its words.
pub async fn a_handler_that_throws_is_an_exception_with_its_words(stage: &Stage) -> Verdict {
    let ended = stage.run(Act::Raise("the reason is 42".to_owned())).await?;

    let error = ended.failed_with(ErrorCode::Exception).error.as_ref();
    assert!(
        error.is_some_and(|error| error.message.contains("the reason is 42")),
        "{error:?}"
    );
    assert_eq!(ended.outcome().output, None);
    assert_ne!(ended.outcome().status, ExitStatus::Code(0));
    Ok(())
}

/// An output of exactly the cap arrives.
pub async fn an_output_of_the_cap_arrives(stage: &Stage) -> Verdict {
    let bytes = OUTPUT_BYTES_MAX - QUOTES;

    let ended = stage.run(Act::ReturnText { bytes }).await?;

    assert!(ended.output().as_str().is_some_and(|text| text.len() == bytes));
    Ok(())
}

/// A larger output is an error with a name, and never a truncation.
pub async fn an_output_beyond_the_cap_is_an_error_of_its_own(stage: &Stage) -> Verdict {
    for bytes in [OUTPUT_BYTES_MAX - QUOTES + 1, 16 * OUTPUT_BYTES_MAX] {
        let ended = stage.run(Act::ReturnText { bytes }).await?;

        assert_eq!(ended.failed_with(ErrorCode::OutputTooLarge).output, None);
    }
    Ok(())
}

/// What JSON cannot say is no output.
pub async fn not_a_number_is_no_output(stage: &Stage) -> Verdict {
    let ended = stage.run(Act::ReturnNan).await?;

    expect_no_output(&ended);
    Ok(())
}

/// A text that UTF-8 cannot hold is no output.
pub async fn a_lone_surrogate_is_no_output(stage: &Stage) -> Verdict {
    let ended = stage.run(Act::ReturnSurrogate).await?;

    expect_no_output(&ended);
    Ok(())
}

/// A number with thousands of digits is no output; nothing wraps around or becomes infinite.
pub async fn a_number_beyond_all_bounds_is_no_output(stage: &Stage) -> Verdict {
    let ended = stage.run(Act::ReturnDigits(4_000)).await?;

    expect_no_output(&ended);
    Ok(())
}

/// Nesting is bounded, whoever does it: the host's parser keeps its stack.
pub async fn nesting_without_end_harms_nobody(stage: &Stage) -> Verdict {
    let returned = stage.run(Act::ReturnNested(500)).await?;
    expect_no_output(&returned);

    let printed = stage.run(Act::PrintNested(400_000)).await?;
    assert_eq!(printed.outcome().output, None);
    Ok(())
}

/// Arguments and variables arrive exactly: empty, with blanks, quotes, line ends, and beyond ASCII.
pub async fn arguments_and_environment_arrive_exactly(stage: &Stage) -> Verdict {
    let texts = [
        "",
        " ",
        "two words",
        "\"'`$HOME",
        "line\nend",
        "ä€😀",
        "--help",
        "-",
        "*",
    ];
    let args: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();

    let ended = stage.run(Act::PrintArgs(args.clone())).await?;
    assert_eq!(ended.output(), &json!(args));

    let mut program = stage.program(Act::PrintEnv)?;
    program.env = args
        .iter()
        .enumerate()
        .map(|(n, text)| (format!("V_{n}"), text.clone()))
        .collect();
    let expected = program.env.clone();
    let ended = stage.run_program(program, Resources::default()).await;
    for (name, value) in &expected {
        assert_eq!(ended.output()[name], json!(value), "{name}");
    }
    Ok(())
}

async fn with_input(stage: &Stage, act: Act, input: &Value) -> Result<Ended, Inexpressible> {
    let mut program = stage.program(act)?;
    program.input = Bytes::from(input.to_string());
    Ok(stage.run_program(program, Resources::default()).await)
}

fn expect_no_output(ended: &Ended) {
    let outcome = ended.outcome();
    let code = outcome.error.as_ref().map(|error| error.code);
    assert!(
        matches!(code, Some(ErrorCode::OutputInvalid | ErrorCode::Exception)),
        "{outcome:?}"
    );
    assert_eq!(outcome.output, None);
}
