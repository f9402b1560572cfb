//! The keys, one row each.

use super::{
    forms::{
        Defaults, FilePath, Form, Kinds, MaybeWord, Mebibytes, Names, Number, OwnNumber, Paths, Percent,
        Seconds, Size, Switch, Time, Word,
    },
    settings::Config,
};

/// One key of the configuration.
pub(super) struct Key {
    /// Its dotted name.
    pub(super) path: &'static str,
    /// What it is for.
    pub(super) what: &'static str,
    /// Reads a value into its place.
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
    /// Writes the value that is there.
    pub(super) get: fn(&Config) -> String,
}

impl Key {
    /// Returns the environment variable of the key: dots become underscores, and the section `server` is left out.
    pub(super) fn variable(&self) -> String {
        let path = self.path.strip_prefix("server.").unwrap_or(self.path);
        format!("VULCAN_{}", path.replace('.', "_").to_uppercase())
    }
}

macro_rules! keys {
    ($($path:literal: $form:ident, $($field:ident).+, $what:literal;)+) => {
        /// All keys, in the order of the documentation.
        pub(super) const KEYS: &[Key] = &[$(Key {
            path: $path,
            what: $what,
            set: |config, text| {
                config.$($field).+ = $form::read(text)?;
                Ok(())
            },
            get: |config| $form::write(&config.$($field).+),
        }),+];
    };
}

keys! {
    "server.listen": Word, server.listen, "Where to listen, on loopback only until there is authentication; port 0 takes a free one";
    "server.data_dir": FilePath, server.data_dir, "Where records and logs are kept; created with mode 0700";
    "server.cache_dir": FilePath, server.cache_dir, "Where compiled programs are kept; may be deleted while no server runs";
    "server.drain_timeout": Time, server.drain_timeout, "How long the first signal waits for workloads before they are stopped";
    "server.body_max": Size, server.body_bytes_max, "The largest body of a request";
    "server.body_timeout": Time, server.body_timeout, "How long a body may take to arrive";
    "server.public_hosts": Names, server.public_hosts, "Names with a dot under which the server may be addressed, separated by commas";
    "server.queue_max": Number, server.queue_len_max, "How many workloads may wait for a node; more are refused";
    "server.idempotency_key_lifetime": Time, server.idempotency_key_lifetime, "How long a repeat of a request finds the first workload";
    "server.database_max": Size, server.database_bytes_max, "The largest size of the database, or none";

    "records.keep_for": Time, records.keep_for, "How long the records of workloads that are over are kept, with their logs";
    "records.max": Number, records.records_max, "How many of them are kept";
    "records.sweep_every": Time, records.sweep_every, "How often it is looked for what is older or more";

    "limits.isolation_floor": Word, isolation_floor, "The weakest class that auto may choose";
    "limits.output_max": Size, workload.output_bytes_max, "A larger output ends a workload as failed";
    "limits.log_max": Size, workload.log_bytes_max, "What the log of one workload may hold; the rest is dropped, and the log says so";
    "limits.input_max": Size, workload.input_bytes_max, "The largest input, as JSON text";
    "limits.archive_entries_max": Number, workload.archive_entries_max, "The most entries of a code archive";
    "limits.default.cpus": Number, limits.default.cpus, "Processors of a workload that asks for none";
    "limits.default.mem": Mebibytes, limits.default.mem_mb, "Its memory";
    "limits.default.disk": Mebibytes, limits.default.disk_mb, "Its writable disk space";
    "limits.default.pids": Number, limits.default.pids, "Its processes and threads";
    "limits.default.timeout": Time, limits.default.timeout_s, "Its time until it is killed";
    "limits.max.cpus": Number, limits.max.cpus, "The most processors that a workload may ask for";
    "limits.max.mem": Mebibytes, limits.max.mem_mb, "The most memory";
    "limits.max.disk": Mebibytes, limits.max.disk_mb, "The most writable disk space";
    "limits.max.pids": Number, limits.max.pids, "The most processes and threads";
    "limits.max.timeout": Time, limits.max.timeout_s, "The longest time until it is killed";

    "node.name": MaybeWord, node.name, "The node's name; empty takes the host's";
    "node.mem": Mebibytes, node.capacity.mem_mb, "Memory that all instances together may be promised";
    "node.instances_max": Number, node.capacity.instances_max, "The most instances at once";
    "node.status_every": Time, node.intervals.status, "From one report on the node to the next";
    "node.probe_every": Time, node.intervals.probe, "From one look at the backends to the next";
    "node.running_after": Time, node.intervals.running_after, "A workload that is quicker is only reported when it is over";
    "node.resend_min": Time, node.intervals.resend_min, "The first pause before an end that nobody acknowledged is reported again";
    "node.resend_max": Time, node.intervals.resend_max, "The longest such pause";
    "node.spill_after": Time, node.intervals.spill_after, "How long such an end is kept in memory alone";
    "node.acknowledge_timeout": Time, node.intervals.acknowledge, "How long a shutdown waits for acknowledgements before it stores the rest";
    "node.stop_timeout": Time, node.intervals.stop, "How long the stop of an instance may take before the node goes on without it";

    "pools.enabled": Switch, pools.enabled, "Whether instances are kept ready; without, one is started for every workload";
    "pools.memory_percent": Percent, pools.memory_percent, "The most memory that all idle instances together take, in percent of the machine's";
    "pools.memory_available_min_percent": Percent, pools.memory_available_min_percent, "With less memory available than this, in percent, nothing is started ahead and idle instances are stopped";
    "pools.blank": Kinds, pools.blank, "Which kinds are always kept ready, as sandbox:python, separated by commas; empty takes every one that there is";
    "pools.blank_per_kind": Number, pools.blank_per_kind, "How many instances are always kept of such a kind, at the default limits, that never ran code";
    "pools.blank_max": Number, pools.blank_max, "How many are kept at most of a kind that is asked for often";
    "pools.blank_idle": Time, pools.blank_idle, "After this time without a request a kind shrinks to what is always kept";
    "pools.warm_idle": Time, pools.warm_idle, "How long an instance with loaded code waits for its next call";
    "pools.warm_per_key_max": Number, pools.warm_per_key_max, "The most instances that are loaded with the same code of the same owner";
    "pools.refill_concurrency": Number, pools.refill_concurrency, "How many instances are started ahead at once; half of the processors by default";

    "compile.cpus": Number, compile.resources.cpus, "The least processors of an instance that compiles";
    "compile.mem": Mebibytes, compile.resources.mem_mb, "Its least memory";
    "compile.disk": Mebibytes, compile.resources.disk_mb, "Its least disk space";
    "compile.pids": Number, compile.resources.pids, "Its least processes and threads";
    "compile.timeout": Time, compile.resources.timeout_s, "The time that a compiler has";
    "compile.executable_max": Size, compile.executable_bytes_max, "The largest executable that is kept";
    "compile.cache_max": Size, compile.cache_bytes_max, "The disk space of the cache; the least recently used goes first";
    "compile.concurrent_max": Number, compile.concurrent_max, "How many compilers run at once";

    "sandbox.outer_id_first": Number, sandbox.outer_id_first, "As root: the first of 4096 user ids that belong to nobody else; 0 derives one from the data directory";
    "sandbox.slots_idle_max": Number, sandbox.slots_idle_max, "How many launchers are kept while nothing runs in them; one takes about 0.5 MB and saves some 10 ms";
    "sandbox.slots_ready_min": Number, sandbox.slots_ready_min, "How many launchers are made ahead, in the background of the first start";
    "sandbox.readable": Paths, sandbox.readable, "Folders of the host that programs may read beside /usr, separated by colons";
    "sandbox.start_timeout": Time, sandbox.start_deadline, "How long a start may take";
    "sandbox.open_files_max": Number, sandbox.open_files_max, "Open files of one process";
    "sandbox.inodes_per_mib": Number, sandbox.inodes_per_mb, "Files and folders per MiB of writable disk space";

    "isolate.deno": FilePath, isolate.deno, "Deno's executable; where it is not set, it is looked for in the data folder and on PATH";
    "isolate.slots_idle_max": Number, isolate.slots_idle_max, "How many launchers are kept while nothing runs in them";
    "isolate.slots_ready_min": Number, isolate.slots_ready_min, "How many launchers are made ahead, in the background of the first start";
    "isolate.start_timeout": Time, isolate.start_deadline, "How long a start may take";
    "isolate.open_files_max": Number, isolate.open_files_max, "Open files of one process";

    "wasm.threads": Number, wasm.threads, "How many threads run modules; none of them serves requests";
    "wasm.module_max": Size, wasm.module_bytes_max, "The largest module or component";
    "wasm.compile_timeout": Time, wasm.compile_deadline, "How long compiling a module may take until the workload fails";
    "wasm.cache_max": Size, wasm.cache_disk_bytes_max, "The disk space of compiled modules; the least recently used goes first";
    "wasm.cache_memory_max": Size, wasm.cache_memory_bytes_max, "The memory of compiled modules and unpacked archives";

    "container.runtime": Word, container.runtime, "Which runtime starts containers: any (crun where it works, otherwise runc), crun or runc";
    "container.crun": FilePath, container.crun, "Where crun is";
    "container.runc": FilePath, container.runc, "Where runc is";
    "container.extra_calls": Names, container.extra_calls, "System calls that containers may make beside the list of the sandbox, separated by commas";
    "container.outer_id_first": OwnNumber, container.outer_id_first, "The first of the host's user and group ids of its instances, which belong to nobody else; auto is the class' own default";
    "container.ids_per_instance": Number, container.ids_per_slot, "How many user and group ids each instance has";
    "container.slots_idle_max": Number, container.slots_idle_max, "How many launchers are kept while nothing runs in them";
    "container.slots_ready_min": Number, container.slots_ready_min, "How many launchers are made ahead, in the background of the first start";
    "container.start_timeout": Time, container.start_deadline, "How long a start may take";
    "container.open_files_max": Number, container.open_files_max, "Open files of one process";
    "container.inodes_per_mib": Number, container.inodes_per_mb, "Files and folders per MiB of writable disk space";
    "container.overhead_mib": OwnNumber, container.overhead_mb, "Memory in MiB that an instance gets on top of its own for what runs it; auto is what was measured";

    "gvisor.platform": Word, gvisor.platform, "How gVisor gets hold of system calls: systrap, or kvm where a trial with it succeeds";
    "gvisor.runsc": FilePath, gvisor.runsc, "Where runsc is";
    "gvisor.outer_id_first": OwnNumber, gvisor.outer_id_first, "The first of the host's user and group ids of its instances, which belong to nobody else; auto is the class' own default";
    "gvisor.ids_per_instance": Number, gvisor.ids_per_slot, "How many user and group ids each instance has";
    "gvisor.slots_idle_max": Number, gvisor.slots_idle_max, "How many launchers are kept while nothing runs in them";
    "gvisor.slots_ready_min": Number, gvisor.slots_ready_min, "How many launchers are made ahead, in the background of the first start";
    "gvisor.start_timeout": Time, gvisor.start_deadline, "How long a start may take";
    "gvisor.open_files_max": Number, gvisor.open_files_max, "Open files of one process";
    "gvisor.inodes_per_mib": Number, gvisor.inodes_per_mb, "Files and folders per MiB of writable disk space";
    "gvisor.overhead_mib": OwnNumber, gvisor.overhead_mb, "Memory in MiB that an instance gets on top of its own for what runs it; auto is what was measured";

    "images.disk_max": Size, images.store.disk_bytes_max, "The disk space of all images; those that nobody uses go when it is exceeded, the least recently used first";
    "images.unpacked_max": Size, images.store.unpacked_bytes_max, "The largest unpacked image";
    "images.entries_max": Number, images.store.entries_max, "The most files, folders and links of one layer";
    "images.upload_max": Size, images.upload_bytes_max, "The largest archive that is imported or built from";
    "images.pulls_at_once": Number, images.store.pulls_at_once, "How many layers are pulled at once";
    "images.stall": Seconds, images.store.stall_s, "How long a registry may say nothing";
    "images.attempts_max": Number, images.store.attempts_max, "How often a layer whose connection broke is taken up again where it stopped";
    "images.plain_http": Names, images.store.plain_http, "Registries (host:port) that are asked in plain HTTP, separated by commas; those on loopback always may be";
    "images.docker_config": FilePath, images.store.docker_config, "Docker's configuration file with more credentials; none is read where it is not set";
    "images.defaults": Defaults, images.store.defaults, "What the programs of each runtime stand on where they name no image, as python=vulcan/python, separated by commas";

    "benchmark.docker_socket": FilePath, benchmark.docker_socket, "The socket of a Docker whose docker run benchmarks measure, too, as /var/run/docker.sock; none is asked where it is not set";
    "benchmark.docker_image": Word, benchmark.docker_image, "The image that it runs true in; it must be in that Docker already";
}

/// Finds a key by its dotted name.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

impl Config {
    /// Writes the configuration as a documented TOML file; [`super::load`] reads it back.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::from(
            "# Every key of vulcan's configuration. A variable overrides the file, a flag overrides the variable.\n",
        );
        let mut section = "";
        for key in KEYS {
            let (own_section, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
            if own_section != section {
                section = own_section;
                text.push_str(&format!("\n[{section}]\n"));
            }
            let value = (key.get)(self);
            let is_unset = value.is_empty();
            let is_bare = value.parse::<f64>().is_ok() || value.parse::<bool>().is_ok();
            let value = if is_bare {
                value
            } else {
                toml::Value::String(value).to_string()
            };
            let mark = if is_unset { "# " } else { "" };
            text.push_str(&format!(
                "# {} ({})\n{mark}{name} = {value}\n",
                key.what,
                key.variable()
            ));
        }
        text.push_str(&self.images.credentials_toml());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_every_variable_has_one_name() {
        let mut names: Vec<String> = KEYS
            .iter()
            .flat_map(|key| [key.path.to_owned(), key.variable()])
            .collect();
        names.extend(super::super::load::OTHER_VARIABLES.map(str::to_owned));
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn every_default_survives_its_text() {
        let default = Config::default();
        for key in KEYS {
            let text = (key.get)(&default);
            if !text.is_empty() {
                let mut config = default.clone();
                (key.set)(&mut config, &text).unwrap();
                assert_eq!(config, default, "{}", key.path);
            }
        }
    }
}
