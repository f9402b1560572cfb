//! What of a record goes into a table: the same rows for the terminal, the report and comparisons.

use vulcan_api::{Benchmark, BenchmarkStart, Spread};

use super::numbers::{digits, digits_or_dash, mebibytes};

/// A table: its title, its columns, and its rows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rows {
    /// What it is about.
    pub(super) title: &'static str,
    /// The names of its columns.
    pub(super) columns: &'static [&'static str],
    /// One cell per column.
    pub(super) rows: Vec<Vec<String>>,
}

/// Returns all tables that have a row.
pub(super) fn all(record: &Benchmark) -> Vec<Rows> {
    let tables = [
        starts(record),
        rates(record),
        memory(record),
        floors(record),
        missing(record),
    ];
    tables
        .into_iter()
        .filter(|table| !table.rows.is_empty())
        .collect()
}

fn spread(spread: Option<Spread>) -> [String; 3] {
    [
        spread.map_or(0, |spread| spread.samples).to_string(),
        digits_or_dash(spread.map(|spread| spread.p50_ms)),
        digits_or_dash(spread.map(|spread| spread.p99_ms)),
    ]
}

/// Says what did not go as it should in samples that there are.
fn remarks(failed: u32, note: Option<&String>) -> String {
    match note {
        Some(note) if failed > 0 => format!("{failed} failed: {note}"),
        Some(note) => note.clone(),
        None => String::new(),
    }
}

fn starts(record: &Benchmark) -> Rows {
    let mut measured: Vec<&BenchmarkStart> = record
        .starts
        .iter()
        .filter(|row| row.total_ms.is_some())
        .collect();
    measured.sort_by_key(|row| row.work);
    let row = |row: &BenchmarkStart| {
        let shares = row.shares.unwrap_or_default();
        let mut remarks = remarks(row.failed, row.note.as_ref());
        if row.started_otherwise > 0 {
            let separator = if remarks.is_empty() { "" } else { "; " };
            remarks = format!("{} started otherwise{separator}{remarks}", row.started_otherwise);
        }
        let mut cells = vec![
            row.work.title().to_owned(),
            row.isolation.to_string(),
            row.start.as_str().to_owned(),
        ];
        cells.extend(spread(row.total_ms));
        cells.extend(spread(row.start_ms).into_iter().skip(1));
        cells.extend([shares.queued_ms, shares.run_ms, shares.rest_ms].map(digits));
        cells.extend([row.cpu_ms, row.mem_peak_mb].map(digits_or_dash));
        cells.push(remarks);
        cells
    };
    Rows {
        title: "One at a time, in ms",
        columns: &[
            "WORK",
            "CLASS",
            "START",
            "N",
            "TOTAL P50",
            "P99",
            "START P50",
            "P99",
            "QUEUED",
            "RUN",
            "REST",
            "CPU",
            "PEAK MIB",
            "REMARKS",
        ],
        rows: measured.into_iter().map(row).collect(),
    }
}

fn rates(record: &Benchmark) -> Rows {
    let rows = record.rates.iter().map(|row| {
        let [_, p50, p99] = spread(row.total_ms);
        vec![
            row.isolation.to_string(),
            row.start.as_str().to_owned(),
            row.concurrency.to_string(),
            digits(row.per_second),
            p50,
            p99,
            format!("{} of {}", row.started_so, row.completed),
            remarks(row.failed, row.note.as_ref()),
        ]
    });
    Rows {
        title: "Many no-ops at once",
        columns: &[
            "CLASS",
            "START",
            "AT ONCE",
            "PER SECOND",
            "P50 MS",
            "P99 MS",
            "STARTED SO",
            "REMARKS",
        ],
        rows: rows.collect(),
    }
}

fn memory(record: &Benchmark) -> Rows {
    let rows = record.memory.iter().filter_map(|row| {
        let footprint = row.footprint?;
        Some(vec![
            row.isolation.to_string(),
            row.runtime.to_string(),
            digits(mebibytes(footprint.pss_bytes)),
            digits(mebibytes(footprint.private_bytes)),
            footprint.processes.to_string(),
        ])
    });
    Rows {
        title: "Memory of one instance, in MiB",
        columns: &["CLASS", "RUNTIME", "PSS", "PRIVATE", "PROCESSES"],
        rows: rows.collect(),
    }
}

fn floors(record: &Benchmark) -> Rows {
    let rows = record
        .floors
        .iter()
        .filter(|row| row.total_ms.is_some())
        .map(|row| {
            let mut cells = vec![row.text.clone(), row.isolation.to_string()];
            cells.extend(spread(row.total_ms));
            cells.push(remarks(0, row.note.as_ref()));
            cells
        });
    Rows {
        title: "Bare commands, in turns with the no-ops, in ms",
        columns: &["COMMAND", "FLOOR OF", "N", "P50", "P99", "REMARKS"],
        rows: rows.collect(),
    }
}

fn missing(record: &Benchmark) -> Rows {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut add = |what: String, reason: &str| rows.push(vec![what, reason.to_owned()]);
    for absent in &record.absent {
        add(absent.isolation.to_string(), &absent.reason);
    }
    for (what, reason) in missing_starts(&record.starts) {
        add(what, &reason);
    }
    for row in record.memory.iter().filter(|row| row.footprint.is_none()) {
        let what = format!("{}: memory of one instance", row.isolation);
        add(what, row.note.as_deref().unwrap_or("no reading"));
    }
    for row in record.floors.iter().filter(|row| row.total_ms.is_none()) {
        add(
            format!("bare {}", row.command),
            row.note.as_deref().unwrap_or("no sample"),
        );
    }
    Rows {
        title: "Not measured",
        columns: &["WHAT", "WHY"],
        rows,
    }
}

/// Work that is missing for the same reason is told together.
fn missing_starts(starts: &[BenchmarkStart]) -> Vec<(String, String)> {
    let mut missing: Vec<(String, String)> = Vec::new();
    for row in starts.iter().filter(|row| row.total_ms.is_none()) {
        let whose = format!("{}, {}: ", row.isolation, row.start.as_str());
        let reason = row.note.as_deref().unwrap_or("no sample");
        let same = missing
            .iter_mut()
            .find(|(what, why)| what.starts_with(&whose) && why == reason);
        match same {
            Some((what, _)) => {
                what.push_str(", ");
                what.push_str(row.work.title());
            }
            None => missing.push((whose + row.work.title(), reason.to_owned())),
        }
    }
    missing
}

/// Returns one line that says what was measured, when and where.
pub(super) fn headline(record: &Benchmark) -> String {
    let quick = if record.spec.quick {
        ", quick: not to be relied on"
    } else {
        ""
    };
    let error = record
        .error
        .as_ref()
        .map(|error| format!(": {error}"))
        .unwrap_or_default();
    format!(
        "{} {}{error} · {}{quick}",
        record.id, record.status, record.created_at
    )
}

/// Returns what everything was measured on, as names and values.
pub(super) fn environment(record: &Benchmark) -> Vec<(String, String)> {
    let Some(environment) = &record.environment else {
        return Vec::new();
    };
    let mut facts = vec![
        ("node".to_owned(), environment.node.to_string()),
        (
            "processor".to_owned(),
            format!("{} × {}", environment.cpus, environment.cpu),
        ),
        ("memory".to_owned(), format!("{} MiB", environment.memory_mb)),
        ("kernel".to_owned(), environment.kernel.clone()),
    ];
    let versions = environment.versions.iter();
    facts.extend(versions.map(|(name, version)| (name.clone(), version.clone())));
    facts
}
