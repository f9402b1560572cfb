//! The writes, one by one, inside of the writer's transaction.

use std::sync::Arc;

use sqlx::{Row, SqliteConnection};
use vulcan_api::{Benchmark, Code, NodeName, Program, Status, Timestamp, Workload, WorkloadId};

use super::{Error, benchmarks, row, step::insert_wholes};

/// A new workload.
#[derive(Debug)]
pub(crate) struct Insert {
    /// The record.
    pub(crate) record: Arc<Workload>,
    /// Whether it may run again.
    pub(crate) is_idempotent: bool,
    /// What it runs, where that must survive a restart.
    pub(crate) program: Option<Arc<Program>>,
    /// The key under which a repeat of the request finds it.
    pub(crate) key: Option<KeyClaim>,
}

/// The claim of a request on an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyClaim {
    /// The key.
    pub(crate) key: String,
    /// SHA-256 of the request's body.
    pub(crate) request_digest: [u8; 32],
    /// An older claim is void.
    pub(crate) valid_since: Timestamp,
}

/// Something to write.
#[derive(Debug)]
pub(crate) enum Write {
    /// A new workload. Nothing is written where its key belongs to another one.
    Insert(Box<Insert>),
    /// A workload is about to be sent to a node, or no node has it any more.
    Placed {
        /// Which one.
        workload: WorkloadId,
        /// Which placement.
        generation: u32,
        /// Where; `None` when it is back in the queue.
        node: Option<NodeName>,
    },
    /// A workload is over: what its end changes in its record; its program is deleted.
    End {
        /// The whole record.
        record: Arc<Workload>,
        /// Whether a program was stored with it.
        has_program: bool,
    },
    /// A workload is over that was never written before, without a program or a key.
    Whole(Arc<Workload>),
    /// Records that are not kept any longer, and the keys that led to them.
    Delete(Vec<WorkloadId>),
    /// Keys that were claimed before this time.
    ExpireKeys(Timestamp),
    /// A benchmark as it is now: the whole record, whatever was written before.
    Benchmark(Arc<Benchmark>),
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is durable.
    Done,
    /// The key belongs to an earlier request; nothing was written.
    KeyTaken {
        /// The earlier workload.
        workload: WorkloadId,
        /// The digest of the earlier request.
        request_digest: Vec<u8>,
    },
}

impl Write {
    /// Returns whether it is one statement, and so atomic by itself.
    pub(super) const fn is_one_statement(&self) -> bool {
        match self {
            Self::Insert(insert) => insert.key.is_none() && insert.program.is_none(),
            Self::End { has_program, .. } => !*has_program,
            Self::Placed { .. } | Self::Whole(_) | Self::ExpireKeys(_) => true,
            Self::Delete(_) | Self::Benchmark(_) => false,
        }
    }

    pub(super) async fn apply(&self, connection: &mut SqliteConnection) -> Result<Written, Error> {
        match self {
            Self::Insert(insert) => return insert.apply(connection).await,
            Self::Placed {
                workload,
                generation,
                node,
            } => {
                sqlx::query("UPDATE workloads SET generation = $1, node = $2 WHERE id = $3")
                    .bind(i64::from(*generation))
                    .bind(node.as_ref().map(NodeName::as_str))
                    .bind(workload.to_string())
                    .execute(connection)
                    .await?;
            }
            Self::End { record, has_program } => end(connection, record, *has_program).await?,
            Self::Whole(record) => insert_wholes(connection, &[record]).await?,
            Self::Delete(workloads) => delete(connection, workloads).await?,
            Self::Benchmark(record) => benchmarks::put(connection, record).await?,
            Self::ExpireKeys(before) => {
                sqlx::query("DELETE FROM idempotency_keys WHERE created_at < $1")
                    .bind(before.as_millis())
                    .execute(connection)
                    .await?;
            }
        }
        Ok(Written::Done)
    }
}

impl Insert {
    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Written, Error> {
        if let Some(claim) = &self.key
            && let Some(taken) = claim_key(connection, claim, &self.record).await?
        {
            return Ok(taken);
        }
        insert(connection, self).await?;
        if let Some(program) = &self.program {
            insert_program(connection, self.record.id, program).await?;
        }
        Ok(Written::Done)
    }
}

async fn claim_key(
    connection: &mut SqliteConnection,
    claim: &KeyClaim,
    record: &Workload,
) -> Result<Option<Written>, Error> {
    let earlier = sqlx::query(
        "SELECT workload_id, request_digest FROM idempotency_keys
         WHERE project = $1 AND key = $2 AND created_at >= $3",
    )
    .bind(&record.project)
    .bind(&claim.key)
    .bind(claim.valid_since.as_millis())
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(earlier) = earlier {
        let id: String = earlier.try_get(0)?;
        let workload = id.parse().map_err(|_| Error::Row {
            id,
            column: "workload_id",
        })?;
        return Ok(Some(Written::KeyTaken {
            workload,
            request_digest: earlier.try_get(1)?,
        }));
    }
    sqlx::query(
        "INSERT INTO idempotency_keys (project, key, request_digest, workload_id, created_at)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (project, key) DO UPDATE SET request_digest = excluded.request_digest,
             workload_id = excluded.workload_id, created_at = excluded.created_at",
    )
    .bind(&record.project)
    .bind(&claim.key)
    .bind(claim.request_digest.as_slice())
    .bind(record.id.to_string())
    .bind(record.created_at.as_millis())
    .execute(connection)
    .await?;
    Ok(None)
}

async fn insert(connection: &mut SqliteConnection, new: &Insert) -> Result<(), Error> {
    let record = &new.record;
    sqlx::query(
        "INSERT INTO workloads (id, project, status, isolation, isolation_used, isolation_reason, runtime, node,
             generation, idempotent, input_digest, resources, network, created_at, logs_truncated, labels,
             reuse, image)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
    )
    .bind(record.id.to_string())
    .bind(&record.project)
    // Who runs is known in memory only.
    .bind(Status::Pending.as_str())
    .bind(record.isolation.as_str())
    .bind(record.isolation_used.map(vulcan_api::IsolationClass::as_str))
    .bind(record.isolation_reason.as_deref())
    .bind(record.runtime.as_str())
    .bind(record.node.as_ref().map(NodeName::as_str))
    .bind(0_i64)
    .bind(new.is_idempotent)
    .bind(&record.input_digest)
    .bind(row::json(&record.resources))
    .bind(row::network(record.network))
    .bind(record.created_at.as_millis())
    .bind(record.logs_truncated)
    .bind((!record.labels.is_empty()).then(|| row::json(&record.labels)))
    .bind(record.reuse.as_str())
    .bind(record.image.as_ref().map(ToString::to_string))
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_program(
    connection: &mut SqliteConnection,
    workload: WorkloadId,
    program: &Program,
) -> Result<(), Error> {
    let (form, command) = match &program.code {
        Code::File { .. } => ("file", None),
        Code::Archive { .. } => ("archive", None),
        // Whatever else such a program may say is the image's own, and filled in by the node.
        Code::Image(image) => ("image", Some(row::json(&image.argv))),
    };
    sqlx::query(
        "INSERT INTO workload_programs (workload_id, runtime, form, entrypoint, code, input, args, env, image, command)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(workload.to_string())
    .bind(program.runtime.as_str())
    .bind(form)
    .bind(program.code.entrypoint())
    .bind(program.code.bytes().as_ref())
    .bind(program.input.as_ref())
    .bind(row::json(&program.args))
    .bind(row::json(&program.env))
    .bind(program.image.as_ref().map(ToString::to_string))
    .bind(command)
    .execute(connection)
    .await?;
    Ok(())
}

async fn end(connection: &mut SqliteConnection, record: &Workload, has_program: bool) -> Result<(), Error> {
    let id = record.id.to_string();
    sqlx::query(
        "UPDATE workloads SET status = $1, node = $2, output = $3, exit_code = $4, error = $5, usage = $6,
             start_kind = $7, queued_ms = $8, start_ms = $9, run_ms = $10, duration_ms = $11, started_at = $12,
             finished_at = $13, logs_truncated = $14
         WHERE id = $15",
    )
    .bind(record.status.as_str())
    .bind(record.node.as_ref().map(NodeName::as_str))
    .bind(record.output.as_ref().map(row::json))
    .bind(record.exit_code)
    .bind(record.error.as_ref().map(row::json))
    .bind(record.usage.as_ref().map(row::json))
    .bind(record.start.map(vulcan_api::StartKind::as_str))
    .bind(record.queued_ms)
    .bind(record.start_ms)
    .bind(record.run_ms)
    .bind(record.duration_ms)
    .bind(record.started_at.map(Timestamp::as_millis))
    .bind(record.finished_at.map(Timestamp::as_millis))
    .bind(record.logs_truncated)
    .bind(&id)
    .execute(&mut *connection)
    .await?;
    if has_program {
        sqlx::query("DELETE FROM workload_programs WHERE workload_id = $1")
            .bind(&id)
            .execute(connection)
            .await?;
    }
    Ok(())
}

async fn delete(connection: &mut SqliteConnection, workloads: &[WorkloadId]) -> Result<(), Error> {
    for workload in workloads {
        let id = workload.to_string();
        for statement in [
            "DELETE FROM workloads WHERE id = $1",
            "DELETE FROM workload_programs WHERE workload_id = $1",
            "DELETE FROM idempotency_keys WHERE workload_id = $1",
        ] {
            sqlx::query(statement).bind(&id).execute(&mut *connection).await?;
        }
    }
    Ok(())
}
