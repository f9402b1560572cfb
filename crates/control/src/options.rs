//! How a control plane is set up.

use std::{path::PathBuf, sync::Arc, time::Duration};

use vulcan_api::{Clock, IsolationClass, ResourceLimits, SystemClock};

use crate::store;

/// How a control plane is set up: everything that an operator may decide.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory that `control.db` is in; it must exist.
    pub data_dir: PathBuf,
    /// Where the time of records comes from.
    pub clock: Arc<dyn Clock>,
    /// What a workload gets by default, and the most that one may ask for.
    pub limits: ResourceLimits,
    /// The weakest class that `auto` may choose.
    pub isolation_floor: IsolationClass,
    /// A larger output ends the workload as failed; in bytes.
    pub output_bytes_max: usize,
    /// What one workload's log may hold, in bytes.
    pub log_bytes_max: u64,
    /// The largest input, as JSON text in bytes.
    pub input_bytes_max: usize,
    /// The most entries that an archive may have.
    pub archive_entries_max: usize,
    /// How many workloads may wait for a node; more are refused.
    pub queue_len_max: usize,
    /// What bodies that are being read and programs that are not started yet may hold in memory together, in bytes; more is
    /// refused as overload.
    pub held_bytes_max: usize,
    /// The largest body of a request, in bytes.
    pub body_bytes_max: usize,
    /// How long a body may take to arrive, and how long an upload in pieces may say nothing.
    pub body_timeout: Duration,
    /// The largest upload in pieces, of an image or of what one is built from, in bytes.
    pub upload_bytes_max: u64,
    /// Names with a dot under which the server may be addressed; others are refused, so that a web page whose name is made
    /// to lead to a loopback address cannot use the server. Addresses, `localhost` and names without a dot always work.
    pub public_hosts: Vec<String>,
    /// Which finished records are kept.
    pub retention: Retention,
    /// How long a repeat of a request finds the first workload.
    pub idempotency_key_lifetime: Duration,
    /// The most bytes that the database file may have; `None` leaves it to the disk.
    pub database_bytes_max: Option<u64>,
}

/// Which finished records are kept; logs go with their record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Older ones are deleted.
    pub keep_for: Duration,
    /// The oldest ones beyond this number are deleted.
    pub records_max: u64,
    /// How often it is looked for some.
    pub sweep_every: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            keep_for: Duration::from_secs(7 * 24 * 3600),
            records_max: 100_000,
            sweep_every: Duration::from_secs(60),
        }
    }
}

impl Options {
    /// Returns the defaults, with the records below `data_dir`.
    #[must_use]
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            clock: Arc::new(SystemClock),
            limits: ResourceLimits::default(),
            isolation_floor: IsolationClass::Sandbox,
            output_bytes_max: 4 * 1024 * 1024,
            log_bytes_max: 16 * 1024 * 1024,
            input_bytes_max: 16 * 1024 * 1024,
            archive_entries_max: 10_000,
            queue_len_max: 10_000,
            held_bytes_max: 1024 * 1024 * 1024,
            body_bytes_max: 64 * 1024 * 1024,
            body_timeout: Duration::from_secs(60),
            upload_bytes_max: 8 * 1024 * 1024 * 1024,
            public_hosts: Vec::new(),
            retention: Retention::default(),
            idempotency_key_lifetime: Duration::from_secs(24 * 3600),
            database_bytes_max: None,
        }
    }
}

/// Why a control plane could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The records cannot be used.
    #[error("the records could not be opened")]
    Store(#[from] store::Error),
}
