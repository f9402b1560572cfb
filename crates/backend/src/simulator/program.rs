//! The text of a program, parsed.

use std::{num::NonZeroU16, time::Duration};

use vulcan_api::LogStream;

/// One line of a program.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Instruction {
    Exit(i32),
    Signal(i32),
    Print {
        stream: LogStream,
        bytes: Vec<u8>,
    },
    Flood {
        stream: LogStream,
        bytes: usize,
    },
    Output(String),
    EchoInput,
    Args,
    Env(String),
    Sleep(Duration),
    Hang,
    Spin,
    Allocate(u32),
    Fork(u32),
    Throw(String),
    Write {
        path: String,
        text: String,
    },
    Fill {
        path: String,
        mib: u32,
    },
    Read(String),
    Connect(String),
    Crash,
    ProtocolError,
    /// What follows is called again; so many times at once.
    Handler(NonZeroU16),
    Count,
    DieAfterwards,
    SayInput,
    /// Only for this input, a text.
    When(String, Box<Instruction>),
}

/// Parses a whole program; the error names the line as a compiler would.
pub(super) fn parse(name: &str, text: &str) -> Result<Vec<Instruction>, String> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            instruction(line).ok_or_else(|| format!("{name}:{}: no such instruction: {line}", number + 1))
        })
        .collect()
}

fn instruction(line: &str) -> Option<Instruction> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let text = || rest.to_owned();
    Some(match word {
        "exit" => Instruction::Exit(rest.parse().ok()?),
        "signal" => Instruction::Signal(rest.parse().ok()?),
        "stdout" => print(LogStream::Stdout, rest),
        "stderr" => print(LogStream::Stderr, rest),
        "bytes" => {
            let (stream, hex) = rest.split_once(' ')?;
            Instruction::Print {
                stream: stream_named(stream)?,
                bytes: unhex(hex)?,
            }
        }
        "flood" => {
            let (stream, bytes) = rest.split_once(' ')?;
            Instruction::Flood {
                stream: stream_named(stream)?,
                bytes: bytes.parse().ok()?,
            }
        }
        "output" => Instruction::Output(text()),
        "echo-input" => Instruction::EchoInput,
        "args" => Instruction::Args,
        "env" => Instruction::Env(text()),
        "sleep" => Instruction::Sleep(Duration::from_millis(rest.parse().ok()?)),
        "hang" => Instruction::Hang,
        "spin" => Instruction::Spin,
        "allocate" => Instruction::Allocate(rest.parse().ok()?),
        "fork" => Instruction::Fork(rest.parse().ok()?),
        "throw" => Instruction::Throw(text()),
        "write" => {
            let (path, text) = rest.split_once(' ').unwrap_or((rest, ""));
            Instruction::Write {
                path: path.to_owned(),
                text: text.to_owned(),
            }
        }
        "fill" => {
            let (path, mib) = rest.split_once(' ')?;
            Instruction::Fill {
                path: path.to_owned(),
                mib: mib.parse().ok()?,
            }
        }
        "read" => Instruction::Read(text()),
        "connect" => Instruction::Connect(text()),
        "crash" => Instruction::Crash,
        "protocol-error" => Instruction::ProtocolError,
        "handler" if rest.is_empty() => Instruction::Handler(NonZeroU16::MIN),
        "handler" => Instruction::Handler(rest.parse().ok()?),
        "count" => Instruction::Count,
        "say-input" => Instruction::SayInput,
        "when" => {
            let (input, line) = rest.split_once(' ')?;
            Instruction::When(input.to_owned(), Box::new(instruction(line)?))
        }
        "die-afterwards" => Instruction::DieAfterwards,
        _ => return None,
    })
}

fn print(stream: LogStream, text: &str) -> Instruction {
    Instruction::Print {
        stream,
        bytes: format!("{text}\n").into_bytes(),
    }
}

fn stream_named(name: &str) -> Option<LogStream> {
    [LogStream::Stdout, LogStream::Stderr, LogStream::System]
        .into_iter()
        .find(|stream| stream.as_str() == name)
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let pairs = hex.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}
