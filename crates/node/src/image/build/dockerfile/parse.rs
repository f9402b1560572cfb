//! A Dockerfile, read.

use super::{
    Argument, CommandLine, Copy, Dockerfile, FILE_BYTES_MAX, FileError, Instruction, STEPS_MAX, Stage, Step,
    lines::{Line, lines},
    words::{Word, first, json, words},
};

const KNOWN: &str = "FROM, RUN, COPY, ADD, ENV, ARG, WORKDIR, USER, ENTRYPOINT, CMD, SHELL, LABEL, MAINTAINER, EXPOSE, VOLUME, \
                     STOPSIGNAL and HEALTHCHECK";

/// Reads a file. Returns with it the character that escapes in its words.
///
/// # Errors
///
/// With line and column, when it is no Dockerfile, or uses what is not taken here.
pub(in crate::image::build) fn parse(text: &str) -> Result<(Dockerfile, char), FileError> {
    let whole = |message: String| FileError {
        line: 1,
        column: 1,
        message,
    };
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(whole(format!("the file is longer than {FILE_BYTES_MAX} bytes")));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (lines, escape) = lines(text)?;
    if lines.len() > STEPS_MAX {
        return Err(whole(format!("the file has more than {STEPS_MAX} instructions")));
    }
    let mut file = Dockerfile::default();
    for line in &lines {
        let parser = Parser { line, escape };
        parser.take(&mut file)?;
    }
    if file.stages.is_empty() {
        return Err(whole("the file has no FROM".to_owned()));
    }
    Ok((file, escape))
}

/// One logical line, being read.
struct Parser<'a> {
    line: &'a Line,
    escape: char,
}

impl<'a> Parser<'a> {
    fn take(&self, file: &mut Dockerfile) -> Result<(), FileError> {
        let (keyword, rest) = first(&self.line.text);
        let keyword = keyword.to_ascii_uppercase();
        if keyword == "FROM" {
            let stage = self.stage(rest, file)?;
            file.stages.push(stage);
            return Ok(());
        }
        let instruction = self.instruction(&keyword, rest)?;
        let (line, _) = self.line.place(0);
        match (file.stages.last_mut(), instruction) {
            (None, Instruction::Arg(args)) => file.args.extend(args),
            (None, _) => return Err(self.error(0, format!("{keyword} stands before the first FROM"))),
            (Some(stage), instruction) => stage.steps.push(Step {
                line,
                text: self.line.text.clone(),
                instruction,
            }),
        }
        Ok(())
    }

    fn error(&self, offset: usize, message: impl Into<String>) -> FileError {
        self.line.error(offset, message)
    }

    /// Returns where a part of the line begins.
    fn offset(&self, part: &str) -> usize {
        self.line.text.len().saturating_sub(part.len())
    }

    fn words(&self, rest: &'a str) -> Vec<Word<'a>> {
        words(rest, self.offset(rest), self.escape)
    }

    fn instruction(&self, keyword: &str, rest: &'a str) -> Result<Instruction, FileError> {
        if rest.is_empty() {
            return Err(self.error(0, format!("{keyword} says nothing more")));
        }
        Ok(match keyword {
            "RUN" => Instruction::Run(self.run(rest)?),
            "COPY" => Instruction::Copy(self.copy(rest, false)?),
            "ADD" => Instruction::Copy(self.copy(rest, true)?),
            "ENV" => Instruction::Env(self.pairs(rest, true)?),
            "LABEL" => Instruction::Label(self.pairs(rest, true)?),
            "MAINTAINER" => Instruction::Label(vec![("maintainer".to_owned(), quoted(rest))]),
            "ARG" => Instruction::Arg(self.args(rest)?),
            "WORKDIR" => Instruction::Workdir(rest.to_owned()),
            "USER" => Instruction::User(self.one(rest, keyword)?),
            "ENTRYPOINT" => Instruction::Entrypoint(command_line(rest)),
            "CMD" => Instruction::Cmd(command_line(rest)),
            "SHELL" => Instruction::Shell(json(rest).filter(|argv| !argv.is_empty()).ok_or_else(|| {
                self.error(
                    self.offset(rest),
                    "SHELL takes a JSON array: [\"/bin/sh\", \"-c\"]",
                )
            })?),
            "EXPOSE" => Instruction::Nothing {
                why: "ports are opened by whoever starts something, and not by the image",
            },
            "VOLUME" => Instruction::Nothing {
                why: "a folder of an instance is as long-lived as the instance",
            },
            "STOPSIGNAL" => Instruction::Nothing {
                why: "programs are stopped with SIGTERM, then SIGKILL",
            },
            "HEALTHCHECK" => Instruction::Nothing {
                why: "nothing asks for the health of a program",
            },
            "ONBUILD" => {
                return Err(self.error(
                    0,
                    "ONBUILD is not supported: write the steps into the file that needs them",
                ));
            }
            _ => return Err(self.error(0, format!("'{keyword}' is no instruction; there are {KNOWN}"))),
        })
    }

    fn one(&self, rest: &'a str, keyword: &str) -> Result<String, FileError> {
        match self.words(rest).as_slice() {
            [word] => Ok(word.text.to_owned()),
            [_, second, ..] => Err(self.error(second.offset, format!("{keyword} takes one word"))),
            [] => Err(self.error(0, format!("{keyword} says nothing more"))),
        }
    }

    fn stage(&self, rest: &'a str, file: &Dockerfile) -> Result<Stage, FileError> {
        let (flags, words) = self.flags(self.words(rest));
        let mut platform = None;
        for flag in flags {
            match flag.text.split_once('=') {
                Some(("--platform", value)) => platform = Some(value.to_owned()),
                _ => return Err(self.error(flag.offset, format!("FROM does not take '{}'", flag.text))),
            }
        }
        let (base, name) = match words.as_slice() {
            [base] => (base, None),
            [base, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => (base, Some(name)),
            [] => return Err(self.error(0, "FROM names no image")),
            [_, other, ..] => {
                return Err(self.error(other.offset, "after the image only 'AS name' may follow"));
            }
        };
        if let Some(name) = name {
            let is_name = name.text.starts_with(|first: char| first.is_ascii_alphabetic())
                && name
                    .text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
            if !is_name {
                return Err(self.error(name.offset, format!("'{}' is no name of a stage", name.text)));
            }
            let taken = |stage: &Stage| stage.name.as_deref() == Some(&name.text.to_ascii_lowercase());
            if file.stages.iter().any(taken) {
                return Err(self.error(name.offset, format!("another stage is called '{}'", name.text)));
            }
        }
        Ok(Stage {
            name: name.map(|name| name.text.to_ascii_lowercase()),
            base: base.text.to_owned(),
            platform,
            line: self.line.place(0).0,
            steps: Vec::new(),
        })
    }

    /// Splits leading `--flags` off.
    fn flags(&self, words: Vec<Word<'a>>) -> (Vec<Word<'a>>, Vec<Word<'a>>) {
        words.into_iter().enumerate().fold(
            (Vec::new(), Vec::new()),
            |(mut flags, mut rest), (index, word)| {
                if flags.len() == index && word.text.starts_with("--") {
                    flags.push(word);
                } else {
                    rest.push(word);
                }
                (flags, rest)
            },
        )
    }

    fn run(&self, rest: &'a str) -> Result<CommandLine, FileError> {
        let mut rest = rest;
        while rest.starts_with("--") {
            let (flag, after) = first(rest);
            if !matches!(
                flag,
                "--network=none" | "--network=default" | "--security=sandbox"
            ) {
                let why = "steps have no network, no mounts and no privileges";
                return Err(self.error(self.offset(rest), format!("RUN does not take '{flag}': {why}")));
            }
            rest = after;
        }
        if rest.is_empty() {
            return Err(self.error(0, "RUN names no command"));
        }
        let line = command_line(rest);
        if let CommandLine::Shell(text) = &line
            && begins_heredoc(text)
        {
            return Err(self.error(
                self.offset(rest),
                "a RUN that begins with << is not supported: write one command after the other with && and a backslash",
            ));
        }
        Ok(line)
    }

    fn copy(&self, rest: &'a str, unpacks: bool) -> Result<Copy, FileError> {
        let keyword = if unpacks { "ADD" } else { "COPY" };
        let (flags, words) = self.flags(self.words(rest));
        let mut copy = Copy {
            unpacks,
            ..Copy::default()
        };
        for flag in flags {
            match flag.text.split_once('=') {
                Some(("--from", value)) if !unpacks => copy.from = Some(value.to_owned()),
                Some(("--chown", value)) => copy.chown = Some(value.to_owned()),
                Some(("--chmod", value)) => copy.chmod = Some(value.to_owned()),
                // Layers do not depend on each other here in any case.
                Some(("--link", "true" | "false")) => {}
                None if flag.text == "--link" => {}
                _ => return Err(self.error(flag.offset, format!("{keyword} does not take '{}'", flag.text))),
            }
        }
        let paths: Vec<(String, usize)> = match words.first() {
            Some(word) if word.text.starts_with('[') => {
                let list = self.line.text.get(word.offset..).unwrap_or_default();
                let paths = json(list)
                    .ok_or_else(|| self.error(word.offset, "the list is no JSON array of strings"))?;
                paths
                    .into_iter()
                    .map(|path| (quoted(&path), word.offset))
                    .collect()
            }
            _ => words
                .iter()
                .map(|word| (word.text.to_owned(), word.offset))
                .collect(),
        };
        for (path, offset) in &paths {
            if begins_heredoc(path) {
                return Err(self.error(
                    *offset,
                    format!("{keyword} of a text after << is not supported: put it into a file"),
                ));
            }
        }
        let [sources @ .., (to, _)] = paths.as_slice() else {
            return Err(self.error(0, format!("{keyword} names nothing")));
        };
        if sources.is_empty() {
            return Err(self.error(0, format!("{keyword} says what to copy and not where to")));
        }
        for (source, offset) in sources {
            let is_remote = source.contains("://") || source.starts_with("git@");
            if is_remote {
                return Err(self.error(
                    *offset,
                    format!(
                        "'{source}' is not in the context: builds have no network; download it beforehand"
                    ),
                ));
            }
        }
        copy.sources = sources.iter().map(|(source, _)| source.clone()).collect();
        copy.to.clone_from(to);
        Ok(copy)
    }

    /// Reads `name=value …`, or `name value` where that is allowed.
    fn pairs(&self, rest: &'a str, with_blank: bool) -> Result<Vec<(String, String)>, FileError> {
        let words = self.words(rest);
        let is_old = words.first().is_some_and(|word| !word.text.contains('='));
        if is_old && with_blank {
            let (name, value) = first(rest);
            if value.is_empty() {
                return Err(self.error(self.offset(rest), format!("'{name}' has no value")));
            }
            return Ok(vec![(name.to_owned(), value.to_owned())]);
        }
        words
            .into_iter()
            .map(|word| match word.text.split_once('=') {
                Some(("", _)) | None => {
                    Err(self.error(word.offset, format!("'{}' is not name=value", word.text)))
                }
                Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            })
            .collect()
    }

    fn args(&self, rest: &'a str) -> Result<Vec<Argument>, FileError> {
        self.words(rest)
            .into_iter()
            .map(|word| {
                let (name, default) = match word.text.split_once('=') {
                    Some((name, default)) => (name, Some(default.to_owned())),
                    None => (word.text, None),
                };
                let is_name = !name.is_empty()
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                if !is_name {
                    return Err(self.error(word.offset, format!("'{name}' is no name of an argument")));
                }
                Ok(Argument {
                    name: name.to_owned(),
                    default,
                })
            })
            .collect()
    }
}

/// A command in either form. Docker takes what is no JSON array as a text for the shell.
fn command_line(rest: &str) -> CommandLine {
    match json(rest) {
        Some(argv) if !argv.is_empty() => CommandLine::Exec(argv),
        _ => CommandLine::Shell(rest.to_owned()),
    }
}

/// Whether a text begins with `<<NAME`, `<<-NAME` or `<<"NAME"`.
fn begins_heredoc(text: &str) -> bool {
    text.strip_prefix("<<")
        .map(|rest| rest.trim_start_matches('-'))
        .is_some_and(|rest| {
            rest.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '"' | '\'' | '_'))
        })
}

/// Makes a word that stands for a text as it is, blanks and all; variables in it stay variables.
fn quoted(text: &str) -> String {
    if text.contains(char::is_whitespace) && !text.contains('"') {
        format!("\"{text}\"")
    } else {
        text.to_owned()
    }
}
