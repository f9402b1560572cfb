//! What a batch of writes is carried out in: neighbours that one statement can write go together.

use std::sync::Arc;

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use vulcan_api::{IsolationClass, NodeName, StartKind, Timestamp, Workload};

use super::{
    Error, row,
    write::{Write, Written},
};

/// The most records in one statement: far below SQLite's limit of 32,766 parameters.
const RECORDS_MAX: usize = 64;

/// A part of a batch.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// Finished records that were never written before; as many as a power of two, so that there are few different texts
    /// of the statement.
    Wholes(Vec<&'a Arc<Workload>>),
    /// Anything else.
    One(&'a Write),
}

/// Cuts a batch, in its order.
pub(super) fn steps(writes: &[Write]) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut rest = writes;
    while let Some(first) = rest.first() {
        let wholes: Vec<&Arc<Workload>> = rest
            .iter()
            .take(RECORDS_MAX)
            .map_while(|write| match write {
                Write::Whole(record) => Some(record),
                _ => None,
            })
            .collect();
        let count = if wholes.is_empty() {
            steps.push(Step::One(first));
            1
        } else {
            let count = 1 << wholes.len().ilog2();
            steps.push(Step::Wholes(wholes[..count].to_vec()));
            count
        };
        rest = &rest[count..];
    }
    steps
}

impl Step<'_> {
    /// Returns whether it is atomic by itself.
    pub(super) const fn is_one_statement(&self) -> bool {
        match self {
            Self::Wholes(_) => true,
            Self::One(write) => write.is_one_statement(),
        }
    }

    /// Carries it out; one answer per write.
    pub(super) async fn apply(&self, connection: &mut SqliteConnection) -> Result<Vec<Written>, Error> {
        match self {
            Self::Wholes(records) => {
                insert_wholes(connection, records).await?;
                Ok(vec![Written::Done; records.len()])
            }
            Self::One(write) => Ok(vec![write.apply(connection).await?]),
        }
    }
}

/// Writes finished records that were never written before.
pub(super) async fn insert_wholes(
    connection: &mut SqliteConnection,
    records: &[&Arc<Workload>],
) -> Result<(), Error> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "INSERT INTO workloads (id, project, status, isolation, isolation_used, isolation_reason, runtime, node, generation,
             idempotent, input_digest, output, exit_code, error, resources, network, usage, start_kind, queued_ms, start_ms,
             run_ms, duration_ms, created_at, started_at, finished_at, logs_truncated, labels, reuse, image) ",
    );
    query.push_values(records, |mut values, record| {
        values
            .push_bind(record.id.to_string())
            .push_bind(record.project.clone())
            .push_bind(record.status.as_str())
            .push_bind(record.isolation.as_str())
            .push_bind(record.isolation_used.map(IsolationClass::as_str))
            .push_bind(record.isolation_reason.clone())
            .push_bind(record.runtime.as_str())
            .push_bind(record.node.as_ref().map(NodeName::to_string))
            .push_bind(0_i64)
            .push_bind(false)
            .push_bind(record.input_digest.clone())
            .push_bind(record.output.as_ref().map(row::json))
            .push_bind(record.exit_code)
            .push_bind(record.error.as_ref().map(row::json))
            .push_bind(row::json(&record.resources))
            .push_bind(row::network(record.network))
            .push_bind(record.usage.as_ref().map(row::json))
            .push_bind(record.start.map(StartKind::as_str))
            .push_bind(record.queued_ms)
            .push_bind(record.start_ms)
            .push_bind(record.run_ms)
            .push_bind(record.duration_ms)
            .push_bind(record.created_at.as_millis())
            .push_bind(record.started_at.map(Timestamp::as_millis))
            .push_bind(record.finished_at.map(Timestamp::as_millis))
            .push_bind(record.logs_truncated)
            .push_bind((!record.labels.is_empty()).then(|| row::json(&record.labels)))
            .push_bind(record.reuse.as_str())
            .push_bind(record.image.as_ref().map(ToString::to_string));
    });
    query.build().execute(connection).await?;
    Ok(())
}
