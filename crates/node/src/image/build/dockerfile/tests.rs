//! What files are taken, how words get their values, and that nothing panics.

use proptest::prelude::*;

use super::*;

fn one(instruction: &str) -> Instruction {
    let (file, _) = parse(&format!("FROM scratch\n{instruction}")).unwrap();
    file.stages[0].steps[0].instruction.clone()
}

fn refusal(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn with(word: &str) -> Expanded {
    expand(word, '\\', &|name| match name {
        "x" => Some("value".to_owned()),
        "empty" => Some(String::new()),
        _ => None,
    })
}

#[test]
fn stages_steps_and_arguments_are_read() {
    let text = "# syntax=docker/dockerfile:1\nARG tag=3.20\nFROM alpine:${tag} AS Build\n\n# a comment\nrun echo one \\\n  # between\n\n  && echo two\nFROM --platform=linux/amd64 scratch\nCOPY --from=build --chown=1:2 --chmod=755 /a /b /c/\n";

    let (file, escape) = parse(text).unwrap();

    assert_eq!(escape, '\\');
    assert_eq!(
        file,
        Dockerfile {
            args: vec![Argument {
                name: "tag".to_owned(),
                default: Some("3.20".to_owned())
            }],
            stages: vec![
                Stage {
                    name: Some("build".to_owned()),
                    base: "alpine:${tag}".to_owned(),
                    platform: None,
                    line: 3,
                    steps: vec![Step {
                        line: 6,
                        text: "run echo one   && echo two".to_owned(),
                        instruction: Instruction::Run(CommandLine::Shell(
                            "echo one   && echo two".to_owned()
                        )),
                    }],
                },
                Stage {
                    name: None,
                    base: "scratch".to_owned(),
                    platform: Some("linux/amd64".to_owned()),
                    line: 10,
                    steps: vec![Step {
                        line: 11,
                        text: "COPY --from=build --chown=1:2 --chmod=755 /a /b /c/".to_owned(),
                        instruction: Instruction::Copy(Copy {
                            from: Some("build".to_owned()),
                            chown: Some("1:2".to_owned()),
                            chmod: Some("755".to_owned()),
                            sources: vec!["/a".to_owned(), "/b".to_owned()],
                            to: "/c/".to_owned(),
                            unpacks: false,
                        }),
                    }],
                },
            ],
        }
    );
}

#[test]
fn commands_have_two_forms() {
    let exec = |argv: &[&str]| CommandLine::Exec(argv.iter().map(|&word| word.to_owned()).collect());

    assert_eq!(one(r#"RUN ["a", "b c"]"#), Instruction::Run(exec(&["a", "b c"])));
    assert_eq!(one(r#"CMD ["a"]"#), Instruction::Cmd(exec(&["a"])));
    assert_eq!(
        one("ENTRYPOINT [ -f x ]"),
        Instruction::Entrypoint(CommandLine::Shell("[ -f x ]".to_owned()))
    );
    assert_eq!(
        one("RUN --network=none cat <<EOF"),
        Instruction::Run(CommandLine::Shell("cat <<EOF".to_owned()))
    );
}

#[test]
fn pairs_are_read_in_both_forms() {
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };

    assert_eq!(
        one(r#"ENV a=1 b="two words" c=three\ words"#),
        Instruction::Env(pairs(&[
            ("a", "1"),
            ("b", "\"two words\""),
            ("c", "three\\ words")
        ]))
    );
    assert_eq!(
        one("ENV a the rest"),
        Instruction::Env(pairs(&[("a", "the rest")]))
    );
    assert_eq!(
        one("MAINTAINER A B <c@d>"),
        Instruction::Label(pairs(&[("maintainer", "\"A B <c@d>\"")]))
    );
}

#[test]
fn another_character_may_escape() {
    let (file, escape) = parse("# escape=`\nFROM scratch\nRUN a `\n b\\\n").unwrap();

    assert_eq!(escape, '`');
    assert_eq!(file.stages[0].steps[0].text, "RUN a  b\\");
}

#[test]
fn what_is_not_taken_is_refused_with_its_place() {
    let refusals = [
        "",
        "RUN a",
        "FROM",
        "FROM a b",
        "FROM a AS 1x",
        "FROM a AS x\nFROM b AS X",
        "FROM --weird a",
        "FROM a\nFLY away",
        "FROM a\nRUN --mount=type=cache,target=/x y",
        "FROM a\nRUN <<EOF",
        "FROM a\nCOPY a",
        "FROM a\nCOPY --parents a b",
        "FROM a\nADD https://x/y z",
        "FROM a\nCOPY <<EOF /x",
        "FROM a\nENV a=1 b",
        "FROM a\nENV a",
        "FROM a\nARG a-b",
        "FROM a\nSHELL sh",
        "FROM a\nUSER a b",
        "FROM a\nONBUILD RUN x",
        "# escape=x\nFROM a",
        "FROM a\nWORKDIR",
    ]
    .map(|text| format!("{text:?}: {}", refusal(text)));

    insta::assert_snapshot!(refusals.join("\n"), @r###"
    "": line 1, column 1: the file has no FROM
    "RUN a": line 1, column 1: RUN stands before the first FROM
    "FROM": line 1, column 1: FROM names no image
    "FROM a b": line 1, column 8: after the image only 'AS name' may follow
    "FROM a AS 1x": line 1, column 11: '1x' is no name of a stage
    "FROM a AS x\nFROM b AS X": line 2, column 11: another stage is called 'X'
    "FROM --weird a": line 1, column 6: FROM does not take '--weird'
    "FROM a\nFLY away": line 2, column 1: 'FLY' is no instruction; there are FROM, RUN, COPY, ADD, ENV, ARG, WORKDIR, USER, ENTRYPOINT, CMD, SHELL, LABEL, MAINTAINER, EXPOSE, VOLUME, STOPSIGNAL and HEALTHCHECK
    "FROM a\nRUN --mount=type=cache,target=/x y": line 2, column 5: RUN does not take '--mount=type=cache,target=/x': steps have no network, no mounts and no privileges
    "FROM a\nRUN <<EOF": line 2, column 5: a RUN that begins with << is not supported: write one command after the other with && and a backslash
    "FROM a\nCOPY a": line 2, column 1: COPY says what to copy and not where to
    "FROM a\nCOPY --parents a b": line 2, column 6: COPY does not take '--parents'
    "FROM a\nADD https://x/y z": line 2, column 5: 'https://x/y' is not in the context: builds have no network; download it beforehand
    "FROM a\nCOPY <<EOF /x": line 2, column 6: COPY of a text after << is not supported: put it into a file
    "FROM a\nENV a=1 b": line 2, column 9: 'b' is not name=value
    "FROM a\nENV a": line 2, column 5: 'a' has no value
    "FROM a\nARG a-b": line 2, column 5: 'a-b' is no name of an argument
    "FROM a\nSHELL sh": line 2, column 7: SHELL takes a JSON array: ["/bin/sh", "-c"]
    "FROM a\nUSER a b": line 2, column 8: USER takes one word
    "FROM a\nONBUILD RUN x": line 2, column 1: ONBUILD is not supported: write the steps into the file that needs them
    "# escape=x\nFROM a": line 1, column 1: the escape character is 'x'; it is \ or `
    "FROM a\nWORKDIR": line 2, column 1: WORKDIR says nothing more
    "###);
}

#[test]
fn a_place_is_that_of_the_file_and_not_of_the_joined_line() {
    let error = parse("FROM a\nCOPY x \\\n   \\\n  https://y z").unwrap_err();

    assert_eq!((error.line, error.column), (4, 3));
}

#[test]
fn words_get_their_values() {
    let table = [
        "$x",
        "${x}y",
        "a$x-b",
        "${none:-other}",
        "${none-other}",
        "${empty:-other}",
        "${empty-other}",
        "${x:+set}",
        "${none:+set}",
        "${empty:+set}",
        "${empty+set}",
        "'$x'",
        "\"$x\"",
        "\\$x",
        "\"\\$x\"",
        "a\\ b",
        "\"a\\nb\"",
        "$",
        "a$",
        "$$x",
        "${none:-${x}}",
        "${none:-'}'}",
        "C:\\",
        "${x:?gone}",
    ]
    .map(|word| format!("{word} → «{}»", with(word).unwrap()));

    insta::assert_snapshot!(table.join("\n"), @r###"
    $x → «value»
    ${x}y → «valuey»
    a$x-b → «avalue-b»
    ${none:-other} → «other»
    ${none-other} → «other»
    ${empty:-other} → «other»
    ${empty-other} → «»
    ${x:+set} → «set»
    ${none:+set} → «»
    ${empty:+set} → «»
    ${empty+set} → «set»
    '$x' → «$x»
    "$x" → «value»
    \$x → «$x»
    "\$x" → «$x»
    a\ b → «a b»
    "a\nb" → «a\nb»
    $ → «$»
    a$ → «a$»
    $$x → «$value»
    ${none:-${x}} → «value»
    ${none:-'}'} → «}»
    C:\ → «C:\»
    ${x:?gone} → «value»
    "###);
}

#[test]
fn words_that_break_off_are_refused() {
    let table = [
        "'a",
        "\"a",
        "${x",
        "${",
        "${}",
        "${x:",
        "${x:-y",
        "${x#y}",
        "${none:?must be given}",
        "${x:z}",
    ]
    .map(|word| format!("{word} → {}", with(word).unwrap_err()));

    insta::assert_snapshot!(table.join("\n"), @r###"
    'a → the closing ' is missing
    "a → the closing " is missing
    ${x → '}' is missing
    ${ → a name is missing after '${'
    ${} → a name is missing after '${'
    ${x: → '}' is missing
    ${x:-y → '}' is missing
    ${x#y} → '${x#' is not known; there are ${x}, ${x:-y}, ${x:+y} and ${x:?y}
    ${none:?must be given} → none has no value: must be given
    ${x:z} → '${x:z' is not known; there are ${x}, ${x:-y}, ${x:+y} and ${x:?y}
    "###);
}

#[test]
fn words_do_not_explode() {
    let nested = format!("{}{}", "${none:-".repeat(100), "}".repeat(100));
    assert_eq!(
        with(&nested),
        Err("variables are nested deeper than 16".to_owned())
    );

    let long = "$x".repeat(1 << 18);
    assert_eq!(
        with(&long),
        Err("the word becomes longer than 1048576 bytes".to_owned())
    );
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,200}") {
        let _ = parse(&text);
        let _ = with(&text);
    }

    #[test]
    fn anything_like_a_dockerfile_is_read_or_refused(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "FROM", "RUN", "COPY", "ADD", "ENV", "ARG", "CMD", " ", "\n", "\\\n", "\\", "#", "=", "\"", "'", "[", "]", "${", "$a", "}",
                ":-", "--from=", "--", "a", "ü", "\r\n", "`", "<<EOF", ",", "\t", "AS",
            ]),
            0..60,
        ),
    ) {
        let text = format!("FROM a\n{}", parts.concat());
        if let Err(error) = parse(&text) {
            let lines = text.split('\n').count();
            prop_assert!(error.line >= 1 && error.line <= lines, "{error}");
            prop_assert!(error.column >= 1);
        }
        let _ = with(&parts.concat());
    }
}
