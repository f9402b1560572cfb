//! From the command line of `run` to the request: finding the code, its runtime, its input.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use vulcan_api::{ResourcesRequest, Runtime, WorkloadSpec};

use crate::{
    archive::{PackLimits, pack_executable, pack_folder},
    cli::RunArgs,
    failure::{Exit, Failure},
    mode::{self, Mode},
    words,
};

/// The largest source file and the largest input: more does not fit into a request.
const TEXT_BYTES_MAX: u64 = 47 << 20;

/// How a WebAssembly binary begins.
const WASM_MAGIC: &[u8] = b"\0asm";

/// What to run, and what it seems to be.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The request.
    pub(crate) spec: WorkloadSpec,
    /// Whether its output is a handler's result or what it prints.
    pub(crate) mode: Mode,
    /// What to call it.
    pub(crate) name: String,
}

/// Where the code comes from, read and packed.
struct Source {
    runtime: Runtime,
    code: Option<String>,
    code_archive: Option<String>,
    entrypoint: Option<String>,
    command: Vec<String>,
    mode: Mode,
    name: String,
}

impl Source {
    /// A script without anything.
    const fn none(runtime: Runtime, name: String) -> Self {
        Self {
            runtime,
            code: None,
            code_archive: None,
            entrypoint: None,
            command: Vec::new(),
            mode: Mode::Script,
            name,
        }
    }
}

/// Reads everything that the command line names, and makes the request of it.
///
/// # Errors
///
/// A [`Failure`] of the input that names the file or the flag.
pub(crate) fn prepare(args: &RunArgs) -> Result<Prepared, Failure> {
    let source = source(args)?;
    let spec = WorkloadSpec {
        command: source.command,
        image: args.image.clone(),
        reuse: args.reuse,
        runtime: source.runtime,
        isolation: args.isolation,
        code: source.code,
        code_archive: source.code_archive,
        entrypoint: source.entrypoint,
        args: args.args.clone(),
        input: input(args.input.as_deref())?,
        env: environment(&args.env)?,
        resources: ResourcesRequest {
            cpus: args.cpus,
            mem_mb: args.mem,
            disk_mb: args.disk,
            pids: args.pids,
            timeout_s: args.timeout.map(|timeout| timeout.as_secs_f64()),
        },
        network: args.network.into(),
        labels: args.labels.iter().cloned().collect(),
        idempotent: args.idempotent,
    };
    Ok(Prepared {
        spec,
        mode: source.mode,
        name: source.name,
    })
}

fn source(args: &RunArgs) -> Result<Source, Failure> {
    if let Some(code) = &args.code {
        return inline(args, code);
    }
    if let Some(archive) = &args.archive {
        return archived(args, archive);
    }
    let Some(path) = args.path.as_deref().or(args.file.as_deref()) else {
        return in_image(args);
    };
    if path.is_dir() {
        return archived(args, path);
    }
    file(args, path)
}

/// Runs what is in the image.
fn in_image(args: &RunArgs) -> Result<Source, Failure> {
    let Some(image) = &args.image else {
        return Err(Failure::usage(
            "could not find what to run: no file, --code, --archive or --image is given",
        )
        .hint("for example: vulcan run hello.py"));
    };
    if let Some(runtime) = args.runtime.filter(|runtime| *runtime != Runtime::Image) {
        return Err(Failure::usage(format!(
            "could not find the code that {runtime} is to run in {image}"
        ))
        .hint("name a file, or leave --runtime out to run the image's own program"));
    }
    let command = match &args.cmd {
        Some(text) => {
            words::split(text).map_err(|reason| Failure::usage(format!("could not read --cmd: {reason}")))?
        }
        None => Vec::new(),
    };
    Ok(Source {
        command,
        ..Source::none(Runtime::Image, image.to_string())
    })
}

fn inline(args: &RunArgs, code: &str) -> Result<Source, Failure> {
    let runtime = args.runtime.ok_or_else(|| {
        Failure::usage("could not tell the runtime of --code").hint("name it, for example --runtime python")
    })?;
    Ok(Source {
        mode: mode::guess(runtime, code),
        code: Some(code.to_owned()),
        entrypoint: args.entrypoint.clone(),
        ..Source::none(runtime, "the code".to_owned())
    })
}

fn file(args: &RunArgs, path: &Path) -> Result<Source, Failure> {
    let bytes = read_limited(path)?;
    let runtime = match args.runtime {
        Some(runtime) => runtime,
        None => runtime_of(path, &bytes)?,
    };
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| Failure::usage(format!("could not use {}: its name is no UTF-8", path.display())))?
        .to_owned();
    let entrypoint = args.entrypoint.clone().unwrap_or_else(|| name.clone());
    if runtime == Runtime::Wasm && bytes.starts_with(WASM_MAGIC) {
        return Ok(Source {
            code: Some(STANDARD.encode(bytes)),
            entrypoint: Some(entrypoint),
            ..Source::none(runtime, name)
        });
    }
    let text = (runtime != Runtime::Binary)
        .then(|| String::from_utf8(bytes).ok())
        .flatten();
    let Some(code) = text else {
        let packed = pack_executable(path, &entrypoint, PackLimits::default())
            .map_err(|error| Failure::from_error(Exit::USAGE, &format!("pack {}", path.display()), &error))?;
        return Ok(Source {
            code_archive: Some(STANDARD.encode(packed)),
            entrypoint: Some(entrypoint),
            ..Source::none(runtime, name)
        });
    };
    Ok(Source {
        mode: mode::guess(runtime, &code),
        code: Some(code),
        entrypoint: Some(entrypoint),
        ..Source::none(runtime, name)
    })
}

fn archived(args: &RunArgs, path: &Path) -> Result<Source, Failure> {
    let is_folder = path.is_dir();
    let entrypoint = match &args.entrypoint {
        Some(entrypoint) => entrypoint.clone(),
        None if is_folder => guessed_entrypoint(path, args.runtime)?,
        None => {
            return Err(
                Failure::usage(format!("could not tell what to run in {}", path.display()))
                    .hint("name the file with --entrypoint, relative to the archive's root"),
            );
        }
    };
    let bytes = if is_folder {
        pack_folder(path, PackLimits::default())
            .map_err(|error| Failure::from_error(Exit::USAGE, &format!("pack {}", path.display()), &error))?
    } else {
        read_limited(path)?
    };
    let source = is_folder
        .then(|| read_limited(&path.join(&entrypoint)))
        .transpose()?;
    let runtime = match (args.runtime, &source) {
        (Some(runtime), _) => runtime,
        (None, Some(content)) => runtime_of(Path::new(&entrypoint), content)?,
        (None, None) => runtime_of(Path::new(&entrypoint), &[])?,
    };
    // What an archive file holds is not looked into: a script is the better guess, as nothing of its output is delayed.
    let text = source.and_then(|content| String::from_utf8(content).ok());
    Ok(Source {
        code_archive: Some(STANDARD.encode(bytes)),
        entrypoint: Some(entrypoint),
        mode: text.map_or(Mode::Script, |text| mode::guess(runtime, &text)),
        ..Source::none(runtime, path.display().to_string())
    })
}

/// Finds the one file of a folder that has the default name of a runtime.
fn guessed_entrypoint(folder: &Path, runtime: Option<Runtime>) -> Result<String, Failure> {
    let found: Vec<&str> = Runtime::ALL
        .into_iter()
        .filter(|candidate| runtime.is_none_or(|runtime| runtime == *candidate))
        .filter_map(Runtime::default_entrypoint)
        .filter(|name| folder.join(name).is_file())
        .collect();
    match found.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(
            Failure::usage(format!("could not tell what to run in {}", folder.display()))
                .hint("name the file with --entrypoint, for example --entrypoint app/main.py"),
        ),
        several => Err(Failure::usage(format!(
            "could not tell what to run in {}: it has {}",
            folder.display(),
            several.join(" and ")
        ))
        .hint("name one with --entrypoint")),
    }
}

fn runtime_of(path: &Path, content: &[u8]) -> Result<Runtime, Failure> {
    let guess = Runtime::from_extension(path).or_else(|| from_content(content));
    guess.ok_or_else(|| {
        let names = Runtime::ALL.map(Runtime::as_str).join(", ");
        Failure::usage(format!("could not tell the runtime of {}", path.display()))
            .hint(format!("name it with --runtime: {names}"))
    })
}

/// Knows an ELF executable, a WebAssembly module, and the interpreters that a `#!` line may name.
fn from_content(content: &[u8]) -> Option<Runtime> {
    if content.starts_with(b"\x7fELF") {
        return Some(Runtime::Binary);
    }
    if content.starts_with(WASM_MAGIC) {
        return Some(Runtime::Wasm);
    }
    let line = content.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line).into_owned();
    let interpreter = line
        .split_whitespace()
        .map(|word| word.rsplit('/').next().unwrap_or(word))
        .find(|word| *word != "env" && !word.starts_with('-'))?;
    match interpreter.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') {
        "python" => Some(Runtime::Python),
        "node" => Some(Runtime::Node),
        "bash" | "sh" => Some(Runtime::Bash),
        _ => None,
    }
}

/// Reads `--input`: a JSON text, `@FILE`, or `-` for standard input.
fn input(argument: Option<&str>) -> Result<Value, Failure> {
    let Some(argument) = argument else {
        return Ok(Value::Null);
    };
    let (text, name) = if argument == "-" {
        (read_text(io::stdin().lock(), "standard input")?, "standard input")
    } else if let Some(path) = argument.strip_prefix('@') {
        let bytes = read_limited(Path::new(path))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Failure::usage(format!("could not read the input: {path} is no UTF-8")))?;
        (text, path)
    } else {
        (argument.to_owned(), "--input")
    };
    serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!("could not read the input: {name} is not JSON: {error}"))
            .hint("a text needs its quotes: --input '\"text\"'; a file needs an @: --input @input.json")
    })
}

/// Reads `--env`: `KEY=VALUE`, or `KEY` for the value that it has here.
fn environment(entries: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut environment = BTreeMap::new();
    for entry in entries {
        let (key, value) = match entry.split_once('=') {
            Some((key, value)) => (key, value.to_owned()),
            None => (entry.as_str(), inherited(entry)?),
        };
        environment.insert(key.to_owned(), value);
    }
    Ok(environment)
}

fn inherited(key: &str) -> Result<String, Failure> {
    std::env::var(key).map_err(|_| {
        Failure::usage(format!(
            "could not pass on --env {key}: it is not set here, or is no UTF-8"
        ))
        .hint(format!("give it a value: --env {key}=VALUE"))
    })
}

fn read_limited(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed =
        |error: io::Error| Failure::from_error(Exit::USAGE, &format!("read {}", path.display()), &error);
    let file = fs::File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    read_bytes(file, path)
}

fn read_text(reader: impl Read, name: &str) -> Result<String, Failure> {
    let bytes = read_bytes(reader, &PathBuf::from(name))?;
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("could not read {name}: it is no UTF-8")))
}

fn read_bytes(reader: impl Read, path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    reader
        .take(TEXT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::from_error(Exit::USAGE, &format!("read {}", path.display()), &error))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(Failure::usage(format!(
            "could not use {}: it is larger than {TEXT_BYTES_MAX} bytes, the most that fits into a request",
            path.display()
        )));
    }
    Ok(bytes)
}
