//! `GET /v1/workloads/{id}/logs`.

use std::time::Duration;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::Stream;
use serde::Serialize;
use tokio::sync::mpsc;
use vulcan_api::{LogLine, Problem, ProblemKind, Status};

use super::parameters::{Id, Parameters};
use crate::{
    app::{LogItem, LogQuery, Refused, log_position},
    service::Handle,
};

/// How often a silent stream shows that it lives.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
const EVENT_STREAM: &str = "text/event-stream";
const NDJSON: &str = "application/x-ndjson";

/// Streams a workload's log from its start, then live, until the workload is over.
///
/// As `text/event-stream` each line is an event `log` with its position as `id`; `Last-Event-ID` goes on after it. The last
/// event is `end`, with the workload's status. As `application/x-ndjson` each line of the answer is a log line.
#[utoipa::path(
    get,
    path = "/v1/workloads/{id}/logs",
    operation_id = "workload_logs",
    tag = "workloads",
    params(
        ("id" = String, Path, description = "The workload"),
        ("follow" = Option<bool>, Query, description = "Whether to go on until the workload is over; true when left out"),
        ("after" = Option<u64>, Query, description = "Only lines after this position; Last-Event-ID comes first"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Only lines after this position"),
    ),
    responses(
        (status = 200, description = "The log", content((LogLine = "text/event-stream"), (LogLine = "application/x-ndjson"))),
        (status = "4XX", description = "There is none, or a parameter cannot be used", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn handle(
    State(handle): State<Handle>,
    Id(id): Id,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let parameters = parameters.only(&["follow", "after"])?;
    let follow = parameters.flag("follow", true)?;
    let after = after(&parameters, &headers)?;
    let form = Form::wanted(&headers)?;
    let items = handle
        .service
        .log_read(LogQuery {
            workload: id,
            after,
            follow,
        })
        .await?;
    let mut response = Body::from_stream(stream(items, form)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Some proxies hold streams back unless they are told.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn after(parameters: &Parameters, headers: &HeaderMap) -> Result<u64, Refused> {
    const LAST_EVENT_ID: &str = "Last-Event-ID";
    if let Some(value) = headers.get(LAST_EVENT_ID) {
        return log_position(LAST_EVENT_ID, &String::from_utf8_lossy(value.as_bytes()));
    }
    parameters
        .text("after")
        .map_or(Ok(0), |text| log_position("after", text))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Events,
    Lines,
}

impl Form {
    fn wanted(headers: &HeaderMap) -> Result<Self, Refused> {
        let accepted: Vec<String> = headers
            .get_all(header::ACCEPT)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase())
            .collect();
        let ranges: Vec<&str> = accepted
            .iter()
            .flat_map(|value| value.split(','))
            .filter_map(|range| range.split(';').next().map(str::trim))
            .filter(|range| !range.is_empty())
            .collect();
        if ranges.contains(&NDJSON) {
            return Ok(Self::Lines);
        }
        if ranges.is_empty()
            || ranges
                .iter()
                .any(|range| [EVENT_STREAM, "text/*", "*/*"].contains(range))
        {
            return Ok(Self::Events);
        }
        if ranges.contains(&"application/*") {
            return Ok(Self::Lines);
        }
        let given = ranges.join(", ");
        Err(Problem::new(
            ProblemKind::NotAcceptable,
            "a log is text/event-stream or application/x-ndjson",
        )
        .with_field(
            "Accept",
            serde_json::Value::from(given),
            format!("{EVENT_STREAM} or {NDJSON}"),
        )
        .into())
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Events => EVENT_STREAM,
            Self::Lines => NDJSON,
        }
    }
}

/// The data of the last event.
#[derive(Debug, Serialize)]
struct End {
    status: Status,
}

/// The data of an event that says why the rest is missing.
#[derive(Debug, Serialize)]
struct Broken {
    error: String,
}

struct Reading {
    items: mpsc::Receiver<LogItem>,
    form: Form,
    is_first: bool,
}

fn stream(items: mpsc::Receiver<LogItem>, form: Form) -> impl Stream<Item = Result<Bytes, LogBroken>> {
    let reading = Reading {
        items,
        form,
        is_first: true,
    };
    futures::stream::unfold(Some(reading), |reading| async move {
        let mut reading = reading?;
        // An event stream begins with a comment, so that the head of the answer is on its way before the first line.
        if std::mem::take(&mut reading.is_first) && reading.form == Form::Events {
            return Some((Ok(Bytes::from_static(b": log\n\n")), Some(reading)));
        }
        match tokio::time::timeout(KEEP_ALIVE_EVERY, reading.items.recv()).await {
            Err(_) => Some((Ok(reading.form.keep_alive()), Some(reading))),
            Ok(Some(LogItem::Lines(lines))) => Some((Ok(reading.form.lines(&lines)), Some(reading))),
            Ok(Some(LogItem::End(status))) => Some((Ok(reading.form.end(status)), None)),
            Ok(Some(LogItem::Failed(failure))) => Some((reading.form.failed(failure.to_string()), None)),
            Ok(None) => None,
        }
    })
}

/// Breaks a stream of lines off, so that its reader does not take it for whole.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
struct LogBroken {
    reason: String,
}

impl Form {
    fn keep_alive(self) -> Bytes {
        match self {
            Self::Events => Bytes::from_static(b": \n\n"),
            // Readers of NDJSON skip empty lines.
            Self::Lines => Bytes::from_static(b"\n"),
        }
    }

    fn lines(self, lines: &[LogLine]) -> Bytes {
        let mut bytes = Vec::with_capacity(lines.iter().map(|line| line.text.len() + 128).sum());
        for line in lines {
            match self {
                Self::Events => event(&mut bytes, "log", Some(line.id), line),
                Self::Lines => {
                    json(&mut bytes, line);
                    bytes.push(b'\n');
                }
            }
        }
        Bytes::from(bytes)
    }

    fn end(self, status: Status) -> Bytes {
        match self {
            Self::Events => {
                let mut bytes = Vec::new();
                event(&mut bytes, "end", None, &End { status });
                Bytes::from(bytes)
            }
            Self::Lines => Bytes::new(),
        }
    }

    fn failed(self, reason: String) -> Result<Bytes, LogBroken> {
        match self {
            Self::Events => {
                let mut bytes = Vec::new();
                event(&mut bytes, "error", None, &Broken { error: reason });
                Ok(Bytes::from(bytes))
            }
            Self::Lines => Err(LogBroken { reason }),
        }
    }
}

/// Writes one event. JSON has no line ends inside, so that guest output cannot forge one.
fn event<T: Serialize>(bytes: &mut Vec<u8>, name: &str, id: Option<u64>, data: &T) {
    if let Some(id) = id {
        bytes.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    bytes.extend_from_slice(format!("event: {name}\ndata: ").as_bytes());
    json(bytes, data);
    bytes.extend_from_slice(b"\n\n");
}

fn json<T: Serialize>(bytes: &mut Vec<u8>, data: &T) {
    serde_json::to_writer(bytes, data)
        .expect("log lines and statuses have string keys, and memory takes every byte");
}

#[cfg(test)]
mod tests {
    use vulcan_api::{LogStream, Timestamp};

    use super::*;

    #[test]
    fn a_line_of_a_guest_forges_no_event() {
        let line = LogLine {
            id: 7,
            time: Timestamp::from_millis(0),
            stream: LogStream::Stdout,
            text: "x\n\nevent: end\r\ndata: {}\u{2028}".to_owned(),
            partial: false,
        };
        let bytes = Form::Events.lines(&[line]);
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(text.matches("\n\n").count(), 1, "{text}");
        assert!(!text.contains('\r') && !text.contains("\nevent: end"), "{text}");
    }
}
