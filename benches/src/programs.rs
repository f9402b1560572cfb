//! The programs that are measured: tiny static executables, built when the benchmark starts.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use vulcan_api::{ResourcesRequest, Runtime, WorkloadSpec};

use crate::context::{Context as _, Failure};

/// No C library: the first instruction is ours, so nothing but the start is measured.
const SOURCE: &str = r#"
static long call(long number, long a, long b, long c, long d, long e, long f) {
#if defined(__x86_64__)
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
#endif
}
#include <sys/syscall.h>
void _start(void) {
#if defined(NOOP)
    call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
#elif defined(SPIN)
    for (;;) __asm__ volatile("");
#elif defined(EAT)
    /* PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS */
    volatile char *memory = (volatile char *)call(SYS_mmap, 0, 1L << 30, 3, 0x22, -1, 0);
    for (long at = 0; at < (1L << 30); at += 4096) memory[at] = 1;
    call(SYS_exit_group, 0, 0, 0, 0, 0, 0);
#endif
    for (;;) {}
}
"#;

/// The executables, and the workloads that run them.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The one that ends at once.
    pub(crate) noop: PathBuf,
    noop_archive: String,
    spin_archive: String,
    eat_archive: String,
}

impl Programs {
    /// Compiles the programs into `folder`.
    ///
    /// # Errors
    ///
    /// When the C compiler is missing or refuses.
    pub(crate) fn build(folder: &Path) -> Result<Self, Failure> {
        let source = folder.join("program.c");
        fs::write(&source, SOURCE).doing("write the source of the measured programs")?;
        let noop = compile(&source, "NOOP", folder)?;
        let spin = compile(&source, "SPIN", folder)?;
        let eat = compile(&source, "EAT", folder)?;
        Ok(Self {
            noop_archive: archive(&noop).doing("pack the no-op")?,
            spin_archive: archive(&spin).doing("pack the spinning program")?,
            eat_archive: archive(&eat).doing("pack the memory eater")?,
            noop,
        })
    }

    /// Ends at once.
    pub(crate) fn noop_spec(&self) -> WorkloadSpec {
        spec(&self.noop_archive, ResourcesRequest::default())
    }

    /// Never ends by itself; is killed at its limit, in seconds.
    pub(crate) fn spin_spec(&self, timeout_s: f64) -> WorkloadSpec {
        spec(
            &self.spin_archive,
            ResourcesRequest {
                timeout_s: Some(timeout_s),
                ..Default::default()
            },
        )
    }

    /// Touches a gibibyte with 16 MiB to its name.
    pub(crate) fn eat_spec(&self) -> WorkloadSpec {
        spec(
            &self.eat_archive,
            ResourcesRequest {
                mem_mb: Some(16),
                ..Default::default()
            },
        )
    }
}

/// Returns a workload of a source text.
pub(crate) fn source_spec(runtime: Runtime, code: &str) -> WorkloadSpec {
    WorkloadSpec {
        code: Some(code.to_owned()),
        ..blank_spec(runtime)
    }
}

fn spec(archive: &str, resources: ResourcesRequest) -> WorkloadSpec {
    WorkloadSpec {
        code_archive: Some(archive.to_owned()),
        entrypoint: Some("program".to_owned()),
        resources,
        ..blank_spec(Runtime::Binary)
    }
}

fn blank_spec(runtime: Runtime) -> WorkloadSpec {
    WorkloadSpec {
        command: Vec::new(),
        image: None,
        reuse: vulcan_api::Reuse::Cold,
        runtime,
        isolation: vulcan_api::Isolation::Sandbox,
        code: None,
        code_archive: None,
        entrypoint: None,
        args: Vec::new(),
        input: serde_json::Value::Null,
        env: Default::default(),
        resources: ResourcesRequest::default(),
        network: vulcan_api::Network::None,
        labels: Default::default(),
        idempotent: false,
    }
}

fn compile(source: &Path, what: &str, folder: &Path) -> Result<PathBuf, Failure> {
    let program = folder.join(what.to_lowercase());
    let output = Command::new("cc")
        .args([
            "-O2",
            "-static",
            "-nostdlib",
            "-ffreestanding",
            "-fno-stack-protector",
            "-s",
            "-D",
            what,
            "-o",
        ])
        .args([&program, source])
        .output()
        .doing("start the C compiler cc")?;
    if output.status.success() {
        return Ok(program);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!(
        "compile {}: {}",
        source.display(),
        said.trim()
    )))
}

fn archive(program: &Path) -> io::Result<String> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    builder.append_path_with_name(program, "program")?;
    Ok(STANDARD.encode(builder.into_inner()?.finish()?))
}
