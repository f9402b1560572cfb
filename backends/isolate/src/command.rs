//! Deno's command line: no permission, no network, and a heap that is full before the instance's memory is.

use vulcan_api::{IsolationClass, Resources};
use vulcan_backend::BackendError;
use vulcan_host::launcher::Command;
use vulcan_slots::Overhead;

/// Where instances find Deno.
pub(crate) const DENO_PATH: &str = "/opt/vulcan/deno";
/// Where instances find the host script.
pub(crate) const HOST_FOLDER: &str = "/opt/vulcan/host";

/// What a blank Deno needs of its own (some 10 MiB private, with libraries that nobody shares yet up to 30), its threads, and
/// the launcher. The workload's memory is its heap and its buffers.
pub(crate) const OVERHEAD: Overhead = Overhead {
    bytes: 24 * 1024 * 1024,
    pids: 24,
    pids_at_start: 0,
    cpus_at_start: 0,
    // Without a memory cgroup what V8 reserves for code counts as used (512 MiB), and the stacks of threads do.
    data_bytes: 576 * 1024 * 1024,
};

/// The least memory that a program can do something with: V8 dies at once in a heap of a few MiB.
pub(crate) const MEM_MB_MIN: u32 = 16;
/// The largest semi-space that is useful: V8's own default.
const SEMI_SPACE_MB_MAX: u32 = 16;
/// One MiB of semi-space per this much memory.
const MEM_MB_PER_SEMI_SPACE: u32 = 32;
/// V8 has up to this many semi-spaces in its young generation.
const SEMI_SPACES: u32 = 3;

/// A heap that begins like this is not collected while Deno starts; a blank instance is 1 MB smaller for it.
const INITIAL_HEAP_MB: u32 = 8;

/// Flags of `deno run`. Not one of them gives a permission.
const FLAGS: [&str; 9] = [
    "--quiet",
    "--no-remote",
    "--no-npm",
    "--no-config",
    "--no-lock",
    "--no-prompt",
    "--cached-only",
    // It would be written to the instance's own disk, and never be found again.
    "--no-code-cache",
    "--no-check",
];

/// Returns the command of one instance.
///
/// # Errors
///
/// [`BackendError::Unfit`] when it would have too little memory.
pub(crate) fn command(resources: &Resources) -> Result<Command, BackendError> {
    if resources.mem_mb < MEM_MB_MIN {
        return Err(BackendError::Unfit {
            isolation: IsolationClass::Isolate,
            reason: format!(
                "an isolate needs at least {MEM_MB_MIN} MiB of memory (resources.mem_mb), and {} were asked for",
                resources.mem_mb
            ),
        });
    }
    let main = format!("{HOST_FOLDER}/main.js");
    let argv = ["deno", "run"]
        .into_iter()
        .chain(FLAGS)
        .map(str::to_owned)
        .chain([v8_flags(resources.mem_mb), main])
        .collect();
    Ok(Command {
        path: DENO_PATH.to_owned(),
        argv,
        env: environment(),
    })
}

/// Deno's whole environment: what is inherited changes its behaviour and costs time.
fn environment() -> Vec<String> {
    [
        "HOME=/tmp",
        "DENO_DIR=/tmp/deno",
        "NO_COLOR=1",
        "DENO_NO_UPDATE_CHECK=1",
        // Threads come and go; arenas of theirs would stay.
        "MALLOC_ARENA_MAX=1",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The young generation counts too, and grows with the memory; one thread does for one program.
fn v8_flags(mem_mb: u32) -> String {
    let semi_space = (mem_mb / MEM_MB_PER_SEMI_SPACE).clamp(1, SEMI_SPACE_MB_MAX);
    let old_space = mem_mb.saturating_sub(semi_space * SEMI_SPACES);
    format!(
        "--v8-flags=--max-old-space-size={old_space},--max-semi-space-size={semi_space},\
         --initial-heap-size={INITIAL_HEAP_MB},--single-threaded"
    )
}

/// Returns whether Deno's last words say that memory was short: V8's, and those of Rust's allocator.
pub(crate) fn tell_of_memory(words: &[u8]) -> bool {
    let words = String::from_utf8_lossy(words);
    ["out of memory", "memory allocation of"]
        .iter()
        .any(|sign| words.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_memory(mem_mb: u32) -> Resources {
        Resources {
            mem_mb,
            ..Resources::default()
        }
    }

    #[test]
    fn deno_gets_no_permission_and_a_heap_within_the_memory() {
        let command = command(&with_memory(128)).unwrap();
        assert!(!command.argv.iter().any(|argument| argument.contains("allow")));
        assert_eq!(
            command.argv[11],
            "--v8-flags=--max-old-space-size=116,--max-semi-space-size=4,--initial-heap-size=8,--single-threaded"
        );
    }

    #[test]
    fn old_and_young_generation_together_are_the_memory() {
        assert!(v8_flags(16).contains("old-space-size=13,--max-semi-space-size=1"));
        assert!(v8_flags(4096).contains("old-space-size=4048,--max-semi-space-size=16"));
    }

    #[test]
    fn too_little_memory_is_refused_with_the_least_that_will_do() {
        let error = command(&with_memory(MEM_MB_MIN - 1)).unwrap_err().to_string();
        assert!(error.contains("at least 16 MiB"), "{error}");
    }

    #[test]
    fn v8s_last_words_are_known() {
        assert!(tell_of_memory(
            b"# Fatal JavaScript out of memory: Reached heap limit\n"
        ));
        assert!(tell_of_memory(b"memory allocation of 10 bytes failed"));
        assert!(!tell_of_memory(b"error: Uncaught Error"));
    }
}
