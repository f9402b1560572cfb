//! The floor of a pooled isolate: a bare Deno process that was started ahead gets its first code.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
};

use tokio::time::Instant;

use crate::context::{Context as _, Failure};

/// No permission at all, and nothing from the network.
const FLAGS: &str = "run --no-prompt --no-remote --no-npm --no-config --no-lock --cached-only";
/// Says that it is ready, takes one module, calls its default export, and says what that returned.
const PROGRAM: &str = "data:application/javascript,const b=new Uint8Array(65536);Deno.stdout.writeSync(new Uint8Array([10]));\
    const n=Deno.stdin.readSync(b);const m=await import(\"data:application/LANGUAGE;base64,\"\
    %2Bbtoa(String.fromCharCode(...b.subarray(0,n))));\
    Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(await m.default(null))%2B\"\\n\"));";

/// A process that is killed when it is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts a process, waits until it is ready, and returns the milliseconds from writing code to it until its answer.
///
/// # Errors
///
/// When there is no Deno on the PATH, or it does not answer.
pub(super) fn time(language: &str, code: &str) -> Result<f64, Failure> {
    let child = Command::new("deno")
        .args(FLAGS.split(' '))
        .arg(PROGRAM.replace("LANGUAGE", language))
        .env("DENO_NO_UPDATE_CHECK", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = Killed(child.doing("start deno, the floor of isolates")?);
    let pipes = child.0.stdin.take().zip(child.0.stdout.take());
    let (mut input, output) = pipes.ok_or_else(|| Failure::new("talk to deno"))?;
    let mut output = BufReader::new(output);
    let mut line = String::new();
    output.read_line(&mut line).doing("wait for a blank deno")?;
    line.clear();
    let start = Instant::now();
    input
        .write_all(code.as_bytes())
        .doing("give code to a blank deno")?;
    output.read_line(&mut line).doing("wait for deno's answer")?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    if line == "null\n" {
        return Ok(milliseconds);
    }
    Err(Failure::new(format!(
        "run code in a blank deno: it answered {line:?}"
    )))
}
