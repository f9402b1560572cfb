//! The reads.

use sqlx::{QueryBuilder, Row, Sqlite};
use vulcan_api::{Isolation, Program, Runtime, Status, StatusCounts, Timestamp, Workload, WorkloadId};

use super::{Error, Store, row};

/// Which workloads a list holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Filter {
    /// Only with this status.
    pub(crate) status: Option<Status>,
    /// Only with this class in use, or with `auto` asked for.
    pub(crate) isolation: Option<Isolation>,
    /// Only with this runtime.
    pub(crate) runtime: Option<Runtime>,
}

/// Which part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    /// Only older ones than this.
    pub(crate) before: Option<WorkloadId>,
    /// The most records.
    pub(crate) limit: u32,
}

/// A workload whose end is not on record.
#[derive(Debug)]
pub(crate) struct Unfinished {
    /// Its record.
    pub(crate) record: Workload,
    /// The newest placement on record. Where the record names a node, that node may have it.
    pub(crate) generation: u32,
    /// Whether it may run again.
    pub(crate) is_idempotent: bool,
    /// What it runs, where that was kept.
    pub(crate) program: Option<Program>,
}

impl Store {
    /// Returns one record.
    ///
    /// # Errors
    ///
    /// As of [`Error`].
    pub(crate) async fn workload_get(&self, id: WorkloadId) -> Result<Option<Workload>, Error> {
        QueryBuilder::<Sqlite>::new(format!("SELECT {} FROM workloads WHERE id = ", row::COLUMNS))
            .push_bind(id.to_string())
            .build()
            .fetch_optional(&self.readers)
            .await?
            .map(|found| row::record(&found))
            .transpose()
    }

    /// Returns records, newest first.
    ///
    /// # Errors
    ///
    /// As of [`Error`].
    pub(crate) async fn workload_list(&self, filter: Filter, page: Page) -> Result<Vec<Workload>, Error> {
        let mut query =
            QueryBuilder::<Sqlite>::new(format!("SELECT {} FROM workloads WHERE TRUE", row::COLUMNS));
        if let Some(before) = page.before {
            query.push(" AND id < ").push_bind(before.to_string());
        }
        if let Some(status) = filter.status {
            query.push(" AND status = ").push_bind(status.as_str());
        }
        match filter.isolation.map(|isolation| (isolation, isolation.class())) {
            Some((_, Some(class))) => {
                query.push(" AND isolation_used = ").push_bind(class.as_str());
            }
            Some((auto, None)) => {
                query.push(" AND isolation = ").push_bind(auto.as_str());
            }
            None => {}
        }
        if let Some(runtime) = filter.runtime {
            query.push(" AND runtime = ").push_bind(runtime.as_str());
        }
        query
            .push(" ORDER BY id DESC LIMIT ")
            .push_bind(i64::from(page.limit));
        let rows = query.build().fetch_all(&self.readers).await?;
        rows.iter().map(row::record).collect()
    }

    /// Returns everything whose end is not on record, oldest first.
    ///
    /// # Errors
    ///
    /// As of [`Error`].
    pub(crate) async fn workload_list_unfinished(&self) -> Result<Vec<Unfinished>, Error> {
        let query = format!(
            "SELECT {}, generation, idempotent, workload_programs.runtime AS program_runtime,
                 workload_programs.image AS program_image, form, entrypoint, code, command, input, args, env
             FROM workloads LEFT JOIN workload_programs ON workload_id = workloads.id
             WHERE status IN ('pending', 'running') ORDER BY workloads.id",
            row::COLUMNS
        );
        let rows = QueryBuilder::<Sqlite>::new(query)
            .build()
            .fetch_all(&self.readers)
            .await?;
        rows.iter()
            .map(|found| {
                let record = row::record(found)?;
                let program = row::program(found, &record.id.to_string())?;
                Ok(Unfinished {
                    generation: u32::try_from(found.try_get::<i64, _>("generation")?).map_err(|_| {
                        Error::Row {
                            id: record.id.to_string(),
                            column: "generation",
                        }
                    })?,
                    is_idempotent: found.try_get("idempotent")?,
                    record,
                    program,
                })
            })
            .collect()
    }

    /// Counts the records by status.
    ///
    /// # Errors
    ///
    /// As of [`Error`].
    pub(crate) async fn workload_count(&self) -> Result<StatusCounts, Error> {
        let rows = sqlx::query("SELECT status, count(*) FROM workloads GROUP BY status")
            .fetch_all(&self.readers)
            .await?;
        let mut counts = StatusCounts::default();
        for found in rows {
            let status: String = found.try_get(0)?;
            let count = u64::try_from(found.try_get::<i64, _>(1)?).unwrap_or(0);
            match status.parse::<Status>() {
                Ok(Status::Pending) => counts.pending = count,
                Ok(Status::Running) => counts.running = count,
                Ok(Status::Completed) => counts.completed = count,
                Ok(Status::Failed) => counts.failed = count,
                Ok(Status::Killed) => counts.killed = count,
                Ok(Status::TimedOut) => counts.timed_out = count,
                Err(_) => {
                    return Err(Error::Row {
                        id: status,
                        column: "status",
                    });
                }
            }
        }
        Ok(counts)
    }

    /// Returns `start_ms` and `run_ms` of the workloads that ended last.
    ///
    /// # Errors
    ///
    /// As of [`Error`].
    pub(crate) async fn duration_list(&self, limit: u32) -> Result<Vec<(Option<f64>, Option<f64>)>, Error> {
        let rows = sqlx::query(
            "SELECT start_ms, run_ms FROM workloads WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|found| Ok((found.try_get(0)?, found.try_get(1)?)))
            .collect()
    }

    /// Counts the workloads that ended at or after `since`.
    ///
    /// # Errors
    ///
    /// As of [`Error`].
    pub(crate) async fn finished_count(&self, since: Timestamp) -> Result<u64, Error> {
        let found = sqlx::query("SELECT count(*) FROM workloads WHERE finished_at >= $1")
            .bind(since.as_millis())
            .fetch_one(&self.readers)
            .await?;
        Ok(u64::try_from(found.try_get::<i64, _>(0)?).unwrap_or(0))
    }

    /// Returns finished workloads that are not to be kept: those that ended before `ended_before`, and the oldest ones
    /// beyond `count_max`. At most `limit`.
    ///
    /// # Errors
    ///
    /// As of [`Error`].
    pub(crate) async fn workload_list_expired(
        &self,
        ended_before: Timestamp,
        count_max: u64,
        limit: u32,
    ) -> Result<Vec<WorkloadId>, Error> {
        let mut ids = self
            .ids(
                "SELECT id FROM workloads WHERE finished_at < $1 ORDER BY finished_at LIMIT $2",
                ended_before.as_millis(),
                limit,
            )
            .await?;
        if ids.is_empty() {
            let found = sqlx::query("SELECT count(*) FROM workloads WHERE finished_at IS NOT NULL")
                .fetch_one(&self.readers)
                .await?;
            let count = u64::try_from(found.try_get::<i64, _>(0)?).unwrap_or(0);
            let surplus = u32::try_from(count.saturating_sub(count_max))
                .unwrap_or(u32::MAX)
                .min(limit);
            let statement = "SELECT id FROM workloads WHERE finished_at > $1 ORDER BY finished_at LIMIT $2";
            ids = self.ids(statement, i64::MIN, surplus).await?;
        }
        Ok(ids)
    }

    async fn ids(&self, statement: &'static str, bound: i64, limit: u32) -> Result<Vec<WorkloadId>, Error> {
        let rows = sqlx::query(statement)
            .bind(bound)
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await?;
        rows.iter()
            .map(|found| {
                let id: String = found.try_get(0)?;
                id.parse().map_err(|_| Error::Row { id, column: "id" })
            })
            .collect()
    }
}
