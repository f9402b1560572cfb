//! The settings of the isolation classes, and the options of their backends made of them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Config, stable_hash};

/// How many user ids a platform has for its instances.
const OUTER_IDS: u32 = 4_096;
/// The most instances of a class that stands on images: as many ranges of ids are kept for each.
const BUNDLES_MAX: u32 = 1_024;
/// How many such ranges there are between the sandbox's first id and 2^31: two platforms on one host hardly meet.
const OUTER_RANGES: u64 = 60_000;

/// The sandbox class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SandboxSettings {
    /// The first of the user ids for instances; 0 derives one from the data directory.
    pub(crate) outer_id_first: u32,
    pub(crate) slots_idle_max: usize,
    pub(crate) slots_ready_min: usize,
    pub(crate) readable: Vec<PathBuf>,
    pub(crate) start_deadline: Duration,
    pub(crate) open_files_max: u64,
    pub(crate) inodes_per_mb: u64,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        let options = vulcan_backend_sandbox::Options::new("");
        Self {
            outer_id_first: 0,
            slots_idle_max: options.slots_idle_max,
            slots_ready_min: options.slots_ready_min,
            readable: options.readable,
            start_deadline: options.start_deadline,
            open_files_max: options.open_files_max,
            inodes_per_mb: options.inodes_per_mb,
        }
    }
}

/// The isolate class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IsolateSettings {
    /// Deno's executable; `None` to look for it.
    pub(crate) deno: Option<PathBuf>,
    pub(crate) slots_idle_max: usize,
    pub(crate) slots_ready_min: usize,
    pub(crate) start_deadline: Duration,
    pub(crate) open_files_max: u64,
}

impl Default for IsolateSettings {
    fn default() -> Self {
        let options = vulcan_backend_isolate::Options::new("");
        Self {
            deno: options.deno,
            slots_idle_max: options.slots_idle_max,
            slots_ready_min: options.slots_ready_min,
            start_deadline: options.start_deadline,
            open_files_max: options.open_files_max,
        }
    }
}

/// The wasm class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WasmSettings {
    pub(crate) threads: usize,
    pub(crate) module_bytes_max: usize,
    pub(crate) compile_deadline: Duration,
    pub(crate) cache_disk_bytes_max: u64,
    pub(crate) cache_memory_bytes_max: u64,
}

impl Default for WasmSettings {
    fn default() -> Self {
        let options = vulcan_backend_wasm::Options::new(None);
        Self {
            threads: options.threads,
            module_bytes_max: options.module_limits.bytes,
            compile_deadline: options.compile_deadline,
            cache_disk_bytes_max: options.cache_disk_bytes_max,
            cache_memory_bytes_max: options.cache_memory_bytes_max,
        }
    }
}

impl Config {
    /// Returns the sandbox's options. `owner` tells this platform's leftovers from those of every other on the host.
    #[must_use]
    pub(crate) fn sandbox_options(&self, owner: &str) -> vulcan_backend_sandbox::Options {
        let defaults = vulcan_backend_sandbox::Options::new(owner);
        vulcan_backend_sandbox::Options {
            outer_id_first: self.outer_id_first(owner),
            slots_max: self.slots_max().min(OUTER_IDS / 2),
            slots_idle_max: self.sandbox.slots_idle_max,
            slots_ready_min: self.sandbox.slots_ready_min,
            readable: self.sandbox.readable.clone(),
            start_deadline: self.sandbox.start_deadline,
            open_files_max: self.sandbox.open_files_max,
            inodes_per_mb: self.sandbox.inodes_per_mb,
            ..defaults
        }
    }

    /// Returns the isolate's options. `data_dir` is where the operator installs what the platform needs, Deno for example.
    #[must_use]
    pub(crate) fn isolate_options(
        &self,
        owner: &str,
        data_dir: Option<PathBuf>,
    ) -> vulcan_backend_isolate::Options {
        vulcan_backend_isolate::Options {
            deno: self.isolate.deno.clone(),
            data_dir,
            // The upper half of the platform's ids; the sandbox has the lower.
            outer_id_first: self.outer_id_first(owner).saturating_add(OUTER_IDS / 2),
            slots_max: self.slots_max().min(OUTER_IDS / 2),
            slots_idle_max: self.isolate.slots_idle_max,
            slots_ready_min: self.isolate.slots_ready_min,
            start_deadline: self.isolate.start_deadline,
            open_files_max: self.isolate.open_files_max,
            inodes_per_mb: self.sandbox.inodes_per_mb,
            ..vulcan_backend_isolate::Options::new(owner)
        }
    }

    /// Returns the options of the container class. `cache_dir` is the platform's.
    #[must_use]
    pub(crate) fn container_options(&self, owner: &str, cache_dir: &Path) -> vulcan_backend_oci::Options {
        self.bundle_options(owner, cache_dir, &self.container)
    }

    /// Returns the options of the gvisor class. `cache_dir` is the platform's.
    #[must_use]
    pub(crate) fn gvisor_options(&self, owner: &str, cache_dir: &Path) -> vulcan_backend_oci::Options {
        self.bundle_options(owner, cache_dir, &self.gvisor)
    }

    fn bundle_options(
        &self,
        owner: &str,
        cache_dir: &Path,
        set: &vulcan_backend_oci::Options,
    ) -> vulcan_backend_oci::Options {
        vulcan_backend_oci::Options {
            owner: owner.to_owned(),
            // On a disk: layers on tmpfs have their ids mapped by Linux 6.3 and newer only.
            run_dir: cache_dir.join("run"),
            slots_max: self.slots_max().min(BUNDLES_MAX),
            ..set.clone()
        }
    }

    /// Returns the first of the platform's user ids.
    fn outer_id_first(&self, owner: &str) -> u32 {
        match self.sandbox.outer_id_first {
            0 => vulcan_backend_sandbox::Options::new(owner)
                .outer_id_first
                .saturating_add(OUTER_IDS * u32::try_from(stable_hash(owner) % OUTER_RANGES).unwrap_or(0)),
            set => set,
        }
    }

    /// Returns the options of the wasm class. `cache_dir` is the platform's.
    #[must_use]
    pub(crate) fn wasm_options(&self, cache_dir: &Path) -> vulcan_backend_wasm::Options {
        let defaults = vulcan_backend_wasm::Options::new(Some(cache_dir.join("wasm")));
        vulcan_backend_wasm::Options {
            slots_max: self.slots_max(),
            threads: self.wasm.threads,
            compile_deadline: self.wasm.compile_deadline,
            cache_disk_bytes_max: self.wasm.cache_disk_bytes_max,
            cache_memory_bytes_max: self.wasm.cache_memory_bytes_max,
            module_limits: vulcan_backend_wasm::ModuleLimits {
                bytes: self.wasm.module_bytes_max,
                ..defaults.module_limits
            },
            ..defaults
        }
    }
}
