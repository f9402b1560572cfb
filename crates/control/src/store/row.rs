//! Between rows and records.

use std::str::FromStr;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row, sqlite::SqliteRow};
use vulcan_api::{
    Code, ImageProgram, IsolationClass, Network, NodeName, Program, Runtime, StartKind, Timestamp, Workload,
};

use super::Error;

/// The columns that [`record`] reads, in its order.
pub(super) const COLUMNS: &str = "workloads.id, project, status, isolation, isolation_used, isolation_reason, \
    workloads.runtime, node, input_digest, output, exit_code, error, resources, network, usage, start_kind, queued_ms, \
    start_ms, run_ms, duration_ms, created_at, started_at, finished_at, logs_truncated, labels, reuse, workloads.image";

/// Writes a value as JSON text.
pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("values of the api crate have string keys and finite shapes")
}

/// Returns the column's text for a network policy.
pub(super) const fn network(network: Network) -> &'static str {
    match network {
        Network::None => "none",
        Network::Egress => "egress",
    }
}

/// Reads a record from a row that begins with [`COLUMNS`].
pub(super) fn record(row: &SqliteRow) -> Result<Workload, Error> {
    let id: String = row.try_get(0)?;
    let columns = Columns { row, id: &id };
    Ok(Workload {
        id: columns.parsed(0, "id")?,
        project: row.try_get(1)?,
        status: columns.parsed(2, "status")?,
        isolation: columns.parsed(3, "isolation")?,
        isolation_used: columns.class()?,
        isolation_reason: row.try_get(5)?,
        runtime: columns.parsed(6, "runtime")?,
        image: columns.parsed_option(26, "image")?,
        node: columns.parsed_option::<NodeName>(7, "node")?,
        input_digest: row.try_get(8)?,
        output: columns.json_option(9, "output")?,
        exit_code: row.try_get(10)?,
        error: columns.json_option(11, "error")?,
        resources: columns
            .json_option(12, "resources")?
            .ok_or_else(|| columns.bad("resources"))?,
        network: columns.network()?,
        usage: columns.json_option(14, "usage")?,
        start: columns.start_kind()?,
        queued_ms: row.try_get(16)?,
        start_ms: row.try_get(17)?,
        run_ms: row.try_get(18)?,
        duration_ms: row.try_get(19)?,
        created_at: Timestamp::from_millis(row.try_get(20)?),
        started_at: row.try_get::<Option<i64>, _>(21)?.map(Timestamp::from_millis),
        finished_at: row.try_get::<Option<i64>, _>(22)?.map(Timestamp::from_millis),
        logs_truncated: row.try_get(23)?,
        labels: columns.json_option(24, "labels")?.unwrap_or_default(),
        reuse: columns.parsed(25, "reuse")?,
    })
}

/// Reads a program; `None` when the row has none. The names of the columns are those of the table.
pub(super) fn program(row: &SqliteRow, id: &str) -> Result<Option<Program>, Error> {
    let bad = |column: &'static str| Error::Row {
        id: id.to_owned(),
        column,
    };
    let Some(form) = row.try_get::<Option<String>, _>("form")? else {
        return Ok(None);
    };
    let runtime: String = row.try_get("program_runtime")?;
    let bytes = Bytes::from(row.try_get::<Vec<u8>, _>("code")?);
    let entrypoint: String = row.try_get("entrypoint")?;
    let image: Option<String> = row.try_get("program_image")?;
    let code = match form.as_str() {
        "file" => Code::File {
            name: entrypoint,
            bytes,
        },
        "archive" => Code::Archive { bytes, entrypoint },
        "image" => Code::Image(ImageProgram {
            argv: serde_json::from_str(&row.try_get::<String, _>("command")?).map_err(|_| bad("command"))?,
            ..ImageProgram::default()
        }),
        _ => return Err(bad("form")),
    };
    Ok(Some(Program {
        runtime: Runtime::from_str(&runtime).map_err(|_| bad("runtime"))?,
        image: image
            .map(|name| name.parse().map_err(|_| bad("image")))
            .transpose()?,
        code,
        input: Bytes::from(row.try_get::<Vec<u8>, _>("input")?),
        args: serde_json::from_str(&row.try_get::<String, _>("args")?).map_err(|_| bad("args"))?,
        env: serde_json::from_str(&row.try_get::<String, _>("env")?).map_err(|_| bad("env"))?,
    }))
}

struct Columns<'a> {
    row: &'a SqliteRow,
    id: &'a str,
}

impl Columns<'_> {
    fn bad(&self, column: &'static str) -> Error {
        Error::Row {
            id: self.id.to_owned(),
            column,
        }
    }

    fn parsed<T: FromStr>(&self, index: usize, column: &'static str) -> Result<T, Error> {
        self.parsed_option(index, column)?.ok_or_else(|| self.bad(column))
    }

    fn parsed_option<T: FromStr>(&self, index: usize, column: &'static str) -> Result<Option<T>, Error> {
        let text: Option<String> = self.row.try_get(index)?;
        text.map(|text| text.parse().map_err(|_| self.bad(column)))
            .transpose()
    }

    fn json_option<T: DeserializeOwned>(
        &self,
        index: usize,
        column: &'static str,
    ) -> Result<Option<T>, Error> {
        let text: Option<String> = self.row.try_get(index)?;
        text.map(|text| serde_json::from_str(&text).map_err(|_| self.bad(column)))
            .transpose()
    }

    fn class(&self) -> Result<Option<IsolationClass>, Error> {
        let text: Option<String> = self.row.try_get(4)?;
        text.map(|text| {
            IsolationClass::ALL
                .into_iter()
                .find(|class| class.as_str() == text)
                .ok_or_else(|| self.bad("isolation_used"))
        })
        .transpose()
    }

    fn network(&self) -> Result<Network, Error> {
        let text: String = self.row.try_get(13)?;
        [Network::None, Network::Egress]
            .into_iter()
            .find(|policy| network(*policy) == text)
            .ok_or_else(|| self.bad("network"))
    }

    fn start_kind(&self) -> Result<Option<StartKind>, Error> {
        let text: Option<String> = self.row.try_get(15)?;
        text.map(|text| {
            [
                StartKind::Warm,
                StartKind::Forked,
                StartKind::Pooled,
                StartKind::Restored,
                StartKind::Cold,
            ]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| self.bad("start_kind"))
        })
        .transpose()
    }
}
