//! What an operator may choose.

use std::{path::PathBuf, time::Duration};

/// Settings of the backend. [`Options::new`] has defaults that suit a small machine.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where compiled modules are kept between runs of the server; `None` keeps them in memory only. The folder is made
    /// with mode 0700 and belongs to this backend alone.
    pub cache_dir: Option<PathBuf>,
    /// How much of the disk compiled modules may take, in bytes.
    pub cache_disk_bytes_max: u64,
    /// How much memory compiled modules and unpacked archives may take, in bytes.
    pub cache_memory_bytes_max: u64,
    /// How many instances may live at once. Each reserves 4 GiB of address space, and no memory.
    pub slots_max: u32,
    /// How many threads run guests; none of them belongs to the server's own runtime.
    pub threads: usize,
    /// By how much these threads stand back behind the server's own, from 0 to 19 (`man 2 setpriority`).
    pub niceness: i32,
    /// How many modules are compiled at once, each in a thread of its own.
    pub compile_threads: usize,
    /// How long compiling may take until the workload fails.
    pub compile_deadline: Duration,
    /// What is accepted for compiling.
    pub module_limits: ModuleLimits,
    /// How large the files of an archive may be together, unpacked, in bytes; the workload's `disk_mb` counts too.
    pub package_bytes_max: u64,
}

impl Options {
    /// Returns the defaults, with a folder for compiled modules.
    #[must_use]
    pub fn new(cache_dir: Option<PathBuf>) -> Self {
        Self {
            cache_dir,
            cache_disk_bytes_max: 256 * MIB,
            cache_memory_bytes_max: 64 * MIB,
            slots_max: 256,
            threads: std::thread::available_parallelism().map_or(1, Into::into),
            niceness: 5,
            compile_threads: 1,
            compile_deadline: Duration::from_secs(10),
            module_limits: ModuleLimits::default(),
            package_bytes_max: 64 * MIB,
        }
    }
}

const MIB: u64 = 1024 * 1024;

/// What a module may have: it is refused before the compiler sees it.
///
/// Time and memory of the compiler grow with these, and it cannot be interrupted inside of one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleLimits {
    /// Length of the module or component, in bytes.
    pub bytes: usize,
    /// Length of all functions' bodies together, in bytes.
    pub code_bytes: usize,
    /// Length of one function's body, in bytes.
    pub function_bytes: usize,
    /// Functions, imported ones excluded.
    pub functions: u32,
    /// Locals of one function.
    pub locals: u32,
    /// Parameters, and results, of one function's type.
    pub parameters: u32,
    /// Loops of one function.
    pub loops: u32,
    /// Blocks, loops and branches of conditions of one function.
    pub blocks: u32,
    /// Locals and parameters of one function, times its blocks: what the compiler's memory grows with.
    pub locals_by_blocks: u64,
    /// Time that the compiler will take in all, as estimated by what its time was seen to grow with.
    pub effort: Duration,
    /// Types.
    pub types: u32,
    /// Tables.
    pub tables: u32,
    /// Entries that one table has at the start.
    pub table_entries: u64,
    /// Linear memories.
    pub memories: u32,
    /// Globals.
    pub globals: u32,
    /// Imports.
    pub imports: u32,
    /// Exports.
    pub exports: u32,
    /// Segments of data and of elements, each.
    pub segments: u32,
    /// Modules and components inside of a component.
    pub nested: u32,
}

impl Default for ModuleLimits {
    fn default() -> Self {
        Self {
            bytes: 16 * 1024 * 1024,
            code_bytes: 8 * 1024 * 1024,
            function_bytes: 512 * 1024,
            functions: 50_000,
            locals: 5_000,
            parameters: 100,
            loops: 2_000,
            blocks: 20_000,
            locals_by_blocks: 4_000_000,
            effort: Duration::from_secs(10),
            types: 5_000,
            tables: 4,
            table_entries: 65_536,
            memories: 4,
            globals: 5_000,
            imports: 1_000,
            exports: 5_000,
            segments: 100_000,
            nested: 32,
        }
    }
}
