//! Benchmarks: whole records as JSON, because nobody searches inside of them.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use vulcan_api::{Benchmark, BenchmarkId};

use super::{Error, Store, row};

/// How many are kept; the oldest ones beyond go when a new one is written.
pub(super) const KEPT_MAX: u32 = 100;
/// The shape that this version writes. A reader takes fields that it does not know as absent, so a shape that only gains
/// fields keeps its number.
const VERSION: i64 = 1;

/// Writes a record, new or again.
pub(super) async fn put(connection: &mut SqliteConnection, record: &Benchmark) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO benchmarks (id, created_at, version, record) VALUES ($1, $2, $3, $4)
         ON CONFLICT (id) DO UPDATE SET version = excluded.version, record = excluded.record",
    )
    .bind(record.id.to_string())
    .bind(record.created_at.as_millis())
    .bind(VERSION)
    .bind(row::json(record))
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "DELETE FROM benchmarks WHERE id NOT IN (SELECT id FROM benchmarks ORDER BY id DESC LIMIT $1)",
    )
    .bind(i64::from(KEPT_MAX))
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// Returns one benchmark.
    ///
    /// # Errors
    ///
    /// As of [`Error`].
    pub(crate) async fn benchmark_get(&self, id: BenchmarkId) -> Result<Option<Benchmark>, Error> {
        sqlx::query("SELECT id, record FROM benchmarks WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await?
            .map(|found| record(&found))
            .transpose()
    }

    /// Returns all benchmarks, newest first.
    ///
    /// # Errors
    ///
    /// As of [`Error`].
    pub(crate) async fn benchmark_list(&self) -> Result<Vec<Benchmark>, Error> {
        let rows = sqlx::query("SELECT id, record FROM benchmarks ORDER BY id DESC LIMIT $1")
            .bind(i64::from(KEPT_MAX))
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(record).collect()
    }
}

fn record(row: &SqliteRow) -> Result<Benchmark, Error> {
    let text: String = row.try_get(1)?;
    serde_json::from_str(&text).map_err(|_| Error::Row {
        id: row.try_get(0).unwrap_or_default(),
        column: "record",
    })
}
