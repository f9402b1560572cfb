//! Images for the benchmark, and what it takes to have one.

use std::{
    fs,
    io::{self, Write as _},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;

use super::{bundle::BUSYBOX, targets::BUSYBOX_IMAGE};
use crate::{
    context::{Context as _, Failure},
    options::{Amounts, Options, Part},
    sample::{Sample, Summary},
    server::Server,
};

const DOCKERFILE: &str = "FROM scratch\nCOPY busybox /bin/busybox\nCMD [\"/bin/busybox\", \"true\"]\n";
/// The size of the large image; half of it can be compressed.
const LARGE_MIB: usize = 200;
const LARGE_FILES: usize = 100;
const REGISTRY_LIMIT: Duration = Duration::from_secs(10);

/// How long it took to have a large image.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Pull {
    /// With `vulcan image pull`.
    pub(crate) ours: Summary,
    /// With `skopeo copy` and `umoci unpack`.
    pub(crate) bare: Summary,
}

/// Has the images that the chosen parts need.
///
/// # Errors
///
/// When one cannot be made.
pub(super) fn prepare(server: &Server, options: &Options, folder: &Path) -> Result<(), Failure> {
    if !options.has(Part::Container) && !options.has(Part::Gvisor) {
        return Ok(());
    }
    let context = folder.join("context");
    fs::create_dir_all(&context).doing("make a folder")?;
    fs::copy(BUSYBOX, context.join("busybox")).doing("copy busybox")?;
    fs::write(context.join("Dockerfile"), DOCKERFILE).doing("write a Dockerfile")?;
    eprintln!("making: images");
    image(
        server,
        options,
        &["build", "-t", BUSYBOX_IMAGE, &context.to_string_lossy()],
    )?;
    image(server, options, &["bootstrap", "vulcan/python"])
}

/// Pulls and unpacks a large image out of a registry on loopback, in turns with skopeo and umoci.
///
/// # Errors
///
/// When a tool is missing or fails.
pub(super) fn pull(
    server: &Server,
    options: &Options,
    amounts: &Amounts,
    folder: &Path,
) -> Result<Pull, Failure> {
    let folder = folder.join("large");
    fs::create_dir_all(&folder).doing("make a folder")?;
    let registry = Registry::start(&folder)?;
    let reference = format!("127.0.0.1:{}/large:latest", registry.port);
    make_large(&folder, &reference)?;
    let (mut ours, mut bare) = (Sample::default(), Sample::default());
    for _ in 0..amounts.pulls {
        bare.push(timed(|| by_others(&folder, &reference))?);
        ours.push(timed(|| image(server, options, &["pull", &reference]))?);
        image(server, options, &["rm", &reference])?;
        image(server, options, &["prune"])?;
    }
    Ok(Pull {
        ours: ours.summary(),
        bare: bare.summary(),
    })
}

fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

fn by_others(folder: &Path, reference: &str) -> Result<(), Failure> {
    let (layout, bundle) = (folder.join("pulled"), folder.join("unpacked"));
    let target = format!("oci:{}:latest", layout.display());
    let source = format!("docker://{reference}");
    run(Command::new("skopeo").args(["copy", "-q", "--src-tls-verify=false", &source, &target]))?;
    let image = format!("{}:latest", layout.display());
    run(Command::new("umoci")
        .args(["unpack", "--image", &image])
        .arg(&bundle))?;
    fs::remove_dir_all(layout)
        .and_then(|()| fs::remove_dir_all(bundle))
        .doing("remove what was pulled")
}

/// Makes an image of files, half of them text and half of them noise, and puts it into the registry.
fn make_large(folder: &Path, reference: &str) -> Result<(), Failure> {
    let (layout, bundle) = (folder.join("made"), folder.join("bundle"));
    let image = format!("{}:latest", layout.display());
    run(Command::new("umoci").arg("init").arg("--layout").arg(&layout))?;
    run(Command::new("umoci").args(["new", "--image", &image]))?;
    run(Command::new("umoci")
        .args(["unpack", "--image", &image])
        .arg(&bundle))?;
    fill(&bundle.join("rootfs")).doing("write files")?;
    run(Command::new("umoci")
        .args(["repack", "--image", &image])
        .arg(&bundle))?;
    let source = format!("oci:{image}");
    let target = format!("docker://{reference}");
    run(Command::new("skopeo").args(["copy", "-q", "--dest-tls-verify=false", &source, &target]))
}

fn fill(root: &Path) -> io::Result<()> {
    let bytes = LARGE_MIB * 1024 * 1024 / LARGE_FILES;
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0..LARGE_FILES {
        let mut content = Vec::with_capacity(bytes);
        while content.len() < bytes {
            // Xorshift: nothing compresses it.
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            if number % 2 == 0 {
                content.extend_from_slice(&noise.to_le_bytes());
            } else {
                content.extend_from_slice(format!("line {} of a text\n", content.len() / 64).as_bytes());
            }
        }
        fs::File::create(root.join(format!("file-{number}")))?.write_all(&content)?;
    }
    Ok(())
}

fn image(server: &Server, options: &Options, arguments: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new(&options.vulcan);
    command
        .arg("--server")
        .arg(format!("http://{}", server.address()))
        .arg("image")
        .args(arguments);
    run(&mut command)
}

/// Runs a command to its end; its words are told where it fails.
fn run(command: &mut Command) -> Result<(), Failure> {
    let what = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .doing(format!("start {what}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::new(format!("run {what}: {}: {words}", output.status)))
}

/// Debian's registry on loopback. Ends with the value.
struct Registry {
    process: Child,
    port: u16,
}

impl Registry {
    fn start(folder: &Path) -> Result<Self, Failure> {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .doing("find a free port")?
            .port();
        let config = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            folder.join("registry").display()
        );
        fs::write(&config, text).doing("write the registry's configuration")?;
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .doing("start docker-registry")?;
        let registry = Self { process, port };
        let deadline = Instant::now() + REGISTRY_LIMIT;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err(Failure::new("reach docker-registry".to_owned()));
            }
            pause();
        }
        Ok(registry)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "between two looks at a port, up to a deadline"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
