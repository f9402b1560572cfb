//! The database itself: opening, and one function per statement.

use std::{path::Path, str::FromStr};

use sqlx::{
    Connection, Row, SqliteConnection,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use vulcan_api::{InstanceId, IsolationClass, Timestamp, WorkloadId};
use vulcan_bus::WorkloadReport;

use super::report;
use crate::Error;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// How long a statement waits for another process that looks into the file.
const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// An instance as it was noted when it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InstanceRow {
    pub(crate) id: InstanceId,
    pub(crate) workload: WorkloadId,
    pub(crate) isolation: IsolationClass,
    pub(crate) created_at: Timestamp,
}

/// The only connection to a node's database.
pub(crate) struct Database(pub(super) SqliteConnection);

impl Database {
    /// Opens a database, makes it where there is none, and brings it up to date.
    pub(crate) async fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source: sqlx::Error| Error::Database {
            path: path.to_owned(),
            source,
        };
        // WAL with synchronous=NORMAL survives the death of the process; a power cut may take the last moments, and the
        // instances with them.
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT);
        let mut connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
        MIGRATIONS
            .run(&mut connection)
            .await
            .map_err(|error| failed(error.into()))?;
        Ok(Self(connection))
    }

    /// Returns every instance that was noted and not deleted; a row that cannot be read is left out.
    pub(crate) async fn instances(&mut self) -> sqlx::Result<Vec<InstanceRow>> {
        let rows = sqlx::query("SELECT id, workload, isolation, created_at FROM instances ORDER BY id")
            .fetch_all(&mut self.0)
            .await?;
        Ok(rows.iter().filter_map(instance_row).collect())
    }

    /// Forgets all instances.
    pub(crate) async fn instances_clear(&mut self) -> sqlx::Result<()> {
        sqlx::query("DELETE FROM instances")
            .execute(&mut self.0)
            .await
            .map(drop)
    }

    /// Returns which ends are stored.
    pub(crate) async fn outbox_keys(&mut self) -> sqlx::Result<Vec<(WorkloadId, u32)>> {
        let rows = sqlx::query("SELECT workload, generation FROM outbox")
            .fetch_all(&mut self.0)
            .await?;
        let key = |row: &sqlx::sqlite::SqliteRow| {
            let generation = u32::try_from(row.get::<i64, _>(1)).ok()?;
            Some((row.get::<String, _>(0).parse().ok()?, generation))
        };
        Ok(rows.iter().filter_map(key).collect())
    }

    /// Returns a stored end; `None` where there is none, or none that this version can read.
    pub(super) async fn outbox_read(&mut self, workload: WorkloadId) -> sqlx::Result<Option<WorkloadReport>> {
        let row = sqlx::query("SELECT body FROM outbox WHERE workload = $1")
            .bind(workload.to_string())
            .fetch_optional(&mut self.0)
            .await?;
        Ok(row.and_then(|row| report::decode(&row.get::<String, _>(0))))
    }
}

fn instance_row(row: &sqlx::sqlite::SqliteRow) -> Option<InstanceRow> {
    let isolation = row.get::<String, _>(2);
    Some(InstanceRow {
        id: InstanceId::from_str(&row.get::<String, _>(0)).ok()?,
        workload: WorkloadId::from_str(&row.get::<String, _>(1)).ok()?,
        isolation: IsolationClass::ALL
            .into_iter()
            .find(|class| class.as_str() == isolation)?,
        created_at: Timestamp::from_millis(row.get(3)),
    })
}

pub(super) async fn instance_put(connection: &mut SqliteConnection, row: &InstanceRow) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO instances (id, workload, isolation, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
        .bind(row.id.to_string())
        .bind(row.workload.to_string())
        .bind(row.isolation.as_str())
        .bind(row.created_at.as_millis())
        .execute(connection)
        .await
        .map(drop)
}

pub(super) async fn instance_delete(connection: &mut SqliteConnection, id: InstanceId) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM instances WHERE id = $1")
        .bind(id.to_string())
        .execute(connection)
        .await
        .map(drop)
}

pub(super) async fn outbox_put(
    connection: &mut SqliteConnection,
    ended: &WorkloadReport,
) -> sqlx::Result<()> {
    let Some(body) = report::encode(ended) else {
        return Ok(());
    };
    sqlx::query(
        "INSERT INTO outbox (workload, generation, body) VALUES ($1, $2, $3) \
         ON CONFLICT (workload) DO UPDATE SET generation = excluded.generation, body = excluded.body \
         WHERE excluded.generation >= outbox.generation",
    )
    .bind(ended.workload.to_string())
    .bind(i64::from(ended.generation))
    .bind(body)
    .execute(connection)
    .await
    .map(drop)
}

pub(super) async fn outbox_delete(
    connection: &mut SqliteConnection,
    workload: WorkloadId,
    generation: u32,
) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM outbox WHERE workload = $1 AND generation <= $2")
        .bind(workload.to_string())
        .bind(i64::from(generation))
        .execute(connection)
        .await
        .map(drop)
}
