//! How each runtime is started.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
};

use vulcan_guest_protocol::{CodeForm, GuestRuntime, Invoke, InvokeMode, Refusal};

use crate::{
    identity::{self, Identity},
    paths,
    places::Places,
    process::{self, Command, Shim},
    refusal,
};

/// Where interpreters are looked for, in this order.
const FOLDERS: [&str; 2] = ["/usr/bin", "/usr/local/bin"];
/// What programs of images find on their path where the image says nothing, as with container engines.
const IMAGE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const GO: [&str; 3] = ["/usr/bin/go", "/usr/lib/go/bin/go", "/usr/local/go/bin/go"];

/// Runs the shim: its byte code where the interpreter is of the version that made it, its source otherwise.
const PYTHON_START: &str = "\
import sys, _frozen_importlib_external as f
magic, code, source = sys.argv[1:4]
if f.MAGIC_NUMBER.hex() == magic:
    import marshal
    code = marshal.loads(code.replace('\\u0100', '\\0').encode('latin-1'))
else:
    code = compile(source, '<vulcan>', 'exec')
exec(code, {'__name__': '<vulcan>'})";
const PYTHON_MAGIC: &str = include_str!(concat!(env!("OUT_DIR"), "/shim.magic"));
const PYTHON_CODE: &str = include_str!(concat!(env!("OUT_DIR"), "/shim.code"));
const PYTHON_SHIM: &str = include_str!("../runtimes/python/shim.py");
/// What only failures and rarities need: compiled when they happen.
const PYTHON_RARE: &str = include_str!("../runtimes/python/rare.py");
const NODE_SHIM: &str = include_str!("../runtimes/node/shim.cjs");
const NODE_SHIM_NAME: &str = ".vulcan-shim.cjs";

/// Returns what to start for code that is in place.
pub(crate) fn command(invoke: &Invoke, places: &Places) -> Result<Command, Refusal> {
    if let Some(program) = &invoke.command {
        return of_image(program, invoke, places);
    }
    identity::with_rights_of(places.code.as_ref(), || of_code(invoke, places))
        .map_err(|error| refusal::io("take the rights of the code's user", &error))?
}

fn of_code(invoke: &Invoke, places: &Places) -> Result<Command, Refusal> {
    let entrypoint = places.work.join(&invoke.entrypoint);
    let file = text(&entrypoint)?;
    let mut cwd = places.work.clone();
    let mut env = process::environment(places, invoke.env.clone());
    let mut argv = match invoke.runtime {
        GuestRuntime::Python => python(invoke.mode == InvokeMode::Once)?,
        GuestRuntime::Node | GuestRuntime::Typescript => node(places)?,
        GuestRuntime::Bash => vec![interpreter("bash", "bash", &["/bin/bash"])?, file],
        GuestRuntime::Binary => binary(&entrypoint, file)?,
        GuestRuntime::GoBuild => {
            let (argv, folder) = go(invoke, &entrypoint, places)?;
            cwd = folder;
            env.extend(go_environment(places));
            argv
        }
        GuestRuntime::Command => return Err(refusal::invalid("there is no command to run")),
    };
    let has_shim = matches!(
        invoke.runtime,
        GuestRuntime::Python | GuestRuntime::Node | GuestRuntime::Typescript
    );
    if has_shim {
        argv.extend(shim_arguments(invoke, places)?);
    }
    argv.extend(invoke.args.iter().cloned());
    refuse_nul(&argv, &env)?;
    Ok(Command {
        argv,
        env,
        cwd,
        shim: if has_shim { Shim::Reports } else { Shim::None },
        identity: places.code.clone(),
    })
}

/// Returns a command of the guest's own filesystem: with its own environment, to which only a missing `HOME` and `PATH` are
/// added, as its own user.
fn of_image(
    program: &vulcan_guest_protocol::Command,
    invoke: &Invoke,
    places: &Places,
) -> Result<Command, Refusal> {
    let identity = identity_of(&program.user, places, true)?;
    let mut argv = program.argv.clone();
    argv.extend(invoke.args.iter().cloned());
    let home = identity
        .as_ref()
        .map_or("/", |identity| &identity.home)
        .to_owned();
    let mut env = BTreeMap::from([
        ("HOME".to_owned(), home),
        ("PATH".to_owned(), IMAGE_PATH.to_owned()),
    ]);
    env.extend(invoke.env.clone());
    refuse_nul(&argv, &env)?;
    let name = argv
        .first_mut()
        .ok_or_else(|| refusal::invalid("a command needs a program"))?;
    *name = look_up(name, env.get("PATH").map(String::as_str))
        .ok_or_else(|| refusal::not_found(format!("no program '{name}' was found in the image")))?;
    let cwd = if program.cwd.is_empty() {
        "/"
    } else {
        program.cwd.as_str()
    };
    // Names are taken from the root, whatever comes before them.
    let cwd = places.root.join(cwd.trim_start_matches('/'));
    std::fs::create_dir_all(&cwd)
        .map_err(|error| refusal::io(format_args!("make the folder {}", program.cwd), &error))?;
    Ok(Command {
        argv,
        env,
        cwd,
        shim: Shim::None,
        identity,
    })
}

/// Returns whom a command runs as: the user of its name, user 0 for one of an image without a name, and for others whoever code
/// runs as.
pub(crate) fn identity_of(
    user: &str,
    places: &Places,
    is_of_image: bool,
) -> Result<Option<Identity>, Refusal> {
    match (&places.code, user.is_empty()) {
        (None, true) => Ok(None),
        (None, false) => Err(refusal::invalid(format!(
            "there are no users in this instance, so that nothing can run as '{user}'"
        ))),
        (Some(code), true) if !is_of_image => Ok(Some(code.clone())),
        (Some(_), _) => Identity::look_up(user, &places.root).map(Some),
    }
}

/// What a shim is told of its program, in front of the program's own arguments.
pub(crate) fn shim_arguments(invoke: &Invoke, places: &Places) -> Result<Vec<String>, Refusal> {
    let mut arguments = vec![text(&places.work.join(&invoke.entrypoint))?];
    match invoke.runtime {
        GuestRuntime::Node => arguments.push("javascript".to_owned()),
        GuestRuntime::Typescript => arguments.push("typescript".to_owned()),
        GuestRuntime::Python
        | GuestRuntime::Bash
        | GuestRuntime::Binary
        | GuestRuntime::GoBuild
        | GuestRuntime::Command => {}
    }
    arguments.extend([invoke.workload.clone(), invoke.timeout_ms.to_string()]);
    Ok(arguments)
}

/// Refuses what no program can be given.
pub(crate) fn refuse_nul(argv: &[String], env: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let is_bad = argv.iter().any(|arg| arg.contains('\0'))
        || env
            .iter()
            .any(|(name, value)| name.contains(['\0', '=']) || value.contains('\0'));
    if is_bad {
        let message = "an argument or a variable contains a NUL byte, or a variable's name a '='";
        return Err(refusal::invalid(message));
    }
    Ok(())
}

/// An interpreter with a shim that can wait for code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Python,
    Node,
}

impl Engine {
    /// Returns what runs a runtime's code; `None` where every program is started by itself. Deno is: its shim cannot be given
    /// more descriptors.
    pub(crate) fn of(runtime: GuestRuntime) -> Option<Self> {
        match runtime {
            GuestRuntime::Python => Some(Self::Python),
            GuestRuntime::Node | GuestRuntime::Typescript => find("node").map(|_| Self::Node),
            GuestRuntime::Bash | GuestRuntime::Binary | GuestRuntime::GoBuild | GuestRuntime::Command => None,
        }
    }

    /// Returns what to start ahead of the code, or to stay with it.
    pub(crate) fn resident(self, places: &Places, env: BTreeMap<String, String>) -> Result<Command, Refusal> {
        let argv = || match self {
            Self::Python => python(true),
            Self::Node => node(places),
        };
        let argv = identity::with_rights_of(places.code.as_ref(), argv)
            .map_err(|error| refusal::io("take the rights of the code's user", &error))??;
        Ok(Command {
            argv,
            env,
            cwd: places.work.clone(),
            shim: Shim::Resident,
            identity: places.code.clone(),
        })
    }
}

/// `-S` leaves out `site`, which takes a third of the interpreter's start; the shim adds what people miss of it.
fn python(one_shot: bool) -> Result<Vec<String>, Refusal> {
    let program = interpreter(
        "Python",
        "python3",
        &["/usr/bin/python3", "/usr/local/bin/python3"],
    )?;
    let mut argv = vec![program, "-S".to_owned()];
    if one_shot {
        // Compiled modules would only be read by a later program.
        argv.push("-B".to_owned());
    }
    let shim = [PYTHON_START, PYTHON_MAGIC, PYTHON_CODE, PYTHON_SHIM, PYTHON_RARE];
    argv.push("-c".to_owned());
    argv.extend(shim.map(str::to_owned));
    Ok(argv)
}

/// The shim is a file, since code that `-e` evaluates leaves its helpers in the global scope of the program.
fn node(places: &Places) -> Result<Vec<String>, Refusal> {
    let mut argv = if let Some(node) = find("node") {
        vec![node]
    } else if let Some(deno) = find("deno") {
        let options = [
            "run",
            "--allow-all",
            "--quiet",
            "--no-config",
            "--no-lock",
            "--no-remote",
        ];
        let mut argv = vec![deno];
        argv.extend(options.map(str::to_owned));
        argv
    } else {
        return Err(refusal::not_found(
            "neither node nor deno is installed: apt-get install nodejs",
        ));
    };
    let shim = OsStr::new(NODE_SHIM_NAME);
    paths::open_root(&places.tmp)
        .and_then(|folder| paths::make_file(&folder, shim, 0o444))
        .and_then(|mut file| file.write_all(NODE_SHIM.as_bytes()))
        .map_err(|error| refusal::io(format_args!("write {NODE_SHIM_NAME}"), &error))?;
    argv.push(text(&places.tmp.join(shim))?);
    Ok(argv)
}

fn binary(entrypoint: &Path, file: String) -> Result<Vec<String>, Refusal> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(entrypoint, mode)
        .map_err(|error| refusal::io(format_args!("make {file} executable"), &error))?;
    Ok(vec![file])
}

/// Compiles a file by its name, and a folder as a module, which it becomes where it is none.
///
/// Without `-trimpath`, which would compile the standard library anew: 21 s instead of 0.7 s with Debian's Go 1.19.
fn go(invoke: &Invoke, entrypoint: &Path, places: &Places) -> Result<(Vec<String>, PathBuf), Refusal> {
    let program = interpreter("Go", "golang-go", &GO)?;
    let out = places.work.join("out");
    std::fs::create_dir_all(&out)
        .map_err(|error| refusal::io(format_args!("make {}", out.display()), &error))?;
    let out = text(&out.join("program"))?;
    let mut argv = [&program, "build", "-buildvcs=false", "-o", &out]
        .map(str::to_owned)
        .to_vec();
    let folder = entrypoint.parent().unwrap_or(&places.work).to_owned();
    match invoke.code_form {
        CodeForm::File | CodeForm::Loaded | CodeForm::Command => argv.push(text(entrypoint)?),
        CodeForm::Archive => {
            let is_module = folder
                .ancestors()
                .take_while(|ancestor| ancestor.starts_with(&places.work))
                .any(|ancestor| ancestor.join("go.mod").is_file());
            if !is_module {
                std::fs::write(folder.join("go.mod"), "module program\n")
                    .map_err(|error| refusal::io("write go.mod", &error))?;
            }
            argv.push(".".to_owned());
        }
    }
    Ok((argv, folder))
}

fn go_environment(places: &Places) -> [(String, String); 9] {
    let below = |name: &str| places.tmp.join(name).display().to_string();
    [
        ("CGO_ENABLED", "0".to_owned()),
        ("GO111MODULE", "on".to_owned()),
        ("GOCACHE", below("go-cache")),
        ("GOENV", "off".to_owned()),
        ("GOFLAGS", String::new()),
        ("GOPATH", below("go")),
        // Nothing can be fetched in there; saying so at once beats waiting for a name server.
        ("GOPROXY", "off".to_owned()),
        ("GOTELEMETRY", "off".to_owned()),
        ("GOTOOLCHAIN", "local".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}

fn interpreter(name: &str, package: &str, candidates: &[&str]) -> Result<String, Refusal> {
    candidates
        .iter()
        .find(|path| is_file(Path::new(path)))
        .map(|path| (*path).to_owned())
        .ok_or_else(|| {
            let places = candidates.join(", ");
            refusal::not_found(format!(
                "{name} is not installed: apt-get install {package} (looked for {places})"
            ))
        })
}

fn find(name: &str) -> Option<String> {
    FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| is_file(path))
        .and_then(|path| path.to_str().map(str::to_owned))
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}

/// Finds a command's program as a shell does, but in the path of its own environment.
pub(crate) fn look_up(program: &str, path: Option<&str>) -> Option<String> {
    if program.contains('/') {
        return Some(program.to_owned());
    }
    path?
        .split(':')
        .map(|folder| Path::new(folder).join(OsStr::new(program)))
        .find(|candidate| is_file(candidate))
        .and_then(|candidate| candidate.to_str().map(str::to_owned))
}

fn text(path: &Path) -> Result<String, Refusal> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| refusal::invalid("a path is not UTF-8"))
}
