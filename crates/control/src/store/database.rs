//! Opening and closing.

use std::{path::Path, sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions, Connection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Error,
    writer::{self, Request},
};

/// How many reads run at once.
const READERS_MAX: u32 = 2;
/// How long SQLite waits for a lock of another process, a backup for example.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a read waits for a free connection.
const READ_WAIT_MAX: Duration = Duration::from_secs(10);
/// How many writes wait for the writer; more are refused.
const WRITES_WAITING_MAX: usize = 16_384;
/// SQLite's page size, which `bytes_max` is counted in.
const PAGE_BYTES: u64 = 4096;

/// How to open the database.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OpenOptions {
    /// The most bytes that the file may have; `None` leaves it to the disk.
    pub(crate) bytes_max: Option<u64>,
}

/// The records. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(super) readers: SqlitePool,
    pub(super) writes: mpsc::Sender<Request>,
}

impl Store {
    /// Opens the database at `path`, makes it where there is none, and brings it to the current schema. The writer runs on
    /// `tasks` until `stop`, and writes what was handed over before.
    ///
    /// # Errors
    ///
    /// [`Error::Open`].
    pub(crate) async fn open(
        path: &Path,
        options: OpenOptions,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let failed = |source: sqlx::Error| Error::Open {
            path: path.to_owned(),
            source: Arc::new(source),
        };
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(false)
            .disable_statement_logging();
        let mut connection = sqlx::SqliteConnection::connect_with(&connect)
            .await
            .map_err(failed)?;
        sqlx::migrate!("./migrations")
            .run(&mut connection)
            .await
            .map_err(|error| failed(error.into()))?;
        if let Some(bytes) = options.bytes_max {
            let pages = (bytes / PAGE_BYTES).max(1);
            let pragma = format!("PRAGMA max_page_count = {pages}");
            sqlx::query(sqlx::AssertSqlSafe(pragma))
                .execute(&mut connection)
                .await
                .map_err(failed)?;
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(READ_WAIT_MAX)
            .connect_lazy_with(connect.read_only(true));
        let (writes, requests) = mpsc::channel(WRITES_WAITING_MAX);
        tasks.spawn(writer::run(connection, requests, stop));
        Ok(Self { readers, writes })
    }

    /// Closes the reading connections. The writer ends by its own token.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
    }
}
