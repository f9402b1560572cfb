//! `vulcan benchmark compare`: one benchmark against another.

use std::collections::BTreeMap;

use serde::Serialize;
use vulcan_api::{Benchmark, BenchmarkSummary};

use super::{
    args::CompareArgs,
    numbers::{digits_or_dash, mebibytes},
    rows,
};
use crate::{
    commands::Context,
    failure::{CommandResult, Exit},
    terminal::{Paint, Table},
};

/// What two benchmarks have in common, and where they differ.
#[derive(Debug, Serialize)]
struct Comparison {
    /// The first.
    a: BenchmarkSummary,
    /// The second.
    b: BenchmarkSummary,
    /// What they were measured on, where that is not the same: ratios say less then.
    environments: Vec<Fact>,
    /// Everything that one of them measured.
    measures: Vec<Difference>,
}

/// Something about the environment that differs.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Fact {
    name: String,
    a: Option<String>,
    b: Option<String>,
}

/// One number of both.
#[derive(Debug, PartialEq, Serialize)]
struct Difference {
    what: String,
    a: Option<f64>,
    b: Option<f64>,
    /// The second against the first.
    ratio: Option<f64>,
}

pub(super) async fn run(context: &Context, args: &CompareArgs) -> CommandResult {
    let (a, b) = (args.a.read(context).await?, args.b.read(context).await?);
    let comparison = Comparison {
        a: a.summary(),
        b: b.summary(),
        environments: environments(&a, &b),
        measures: differences(&a, &b),
    };
    if context.global.json {
        context.terminal.print_json(&comparison)?;
        return Ok(Exit::OK);
    }
    for fact in &comparison.environments {
        let [a, b] = [&fact.a, &fact.b].map(|value| value.as_deref().unwrap_or("not known"));
        let note = format!("environments differ: {}: {a} → {b}", fact.name);
        context.terminal.err_line(&note, Paint::Plain, true);
    }
    context.terminal.print_table(table(&comparison.measures))?;
    Ok(Exit::OK)
}

fn environments(a: &Benchmark, b: &Benchmark) -> Vec<Fact> {
    let facts = |record: &Benchmark| {
        let mut facts: BTreeMap<String, String> = rows::environment(record).into_iter().collect();
        facts.insert("samples".to_owned(), record.spec.samples().to_string());
        facts
    };
    let (a, b) = (facts(a), facts(b));
    let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| a.get(*name) != b.get(*name))
        .map(|name| Fact {
            name: name.clone(),
            a: a.get(name).cloned(),
            b: b.get(name).cloned(),
        })
        .collect()
}

/// Returns everything that was measured, each under a name.
fn measures(record: &Benchmark) -> Vec<(String, f64)> {
    let mut measures = Vec::new();
    let mut add = |what: String, value: Option<f64>| measures.extend(value.map(|value| (what, value)));
    for row in &record.starts {
        let what = format!("{}, {}, {}", row.isolation, row.start.as_str(), row.work.title());
        add(
            format!("{what}: total p50, ms"),
            row.total_ms.map(|spread| spread.p50_ms),
        );
        add(
            format!("{what}: total p99, ms"),
            row.total_ms.map(|spread| spread.p99_ms),
        );
        add(
            format!("{what}: start p50, ms"),
            row.start_ms.map(|spread| spread.p50_ms),
        );
    }
    for row in &record.rates {
        let what = format!(
            "{}, {}, {} at once",
            row.isolation,
            row.start.as_str(),
            row.concurrency
        );
        add(format!("{what}: per second"), Some(row.per_second));
    }
    for row in &record.memory {
        let what = format!("{}, memory of one instance", row.isolation);
        let of = |bytes: fn(&vulcan_api::Footprint) -> u64| {
            row.footprint.as_ref().map(|found| mebibytes(bytes(found)))
        };
        add(format!("{what}: PSS, MiB"), of(|found| found.pss_bytes));
        add(format!("{what}: private, MiB"), of(|found| found.private_bytes));
    }
    for row in &record.floors {
        add(
            format!("bare {}: p50, ms", row.command),
            row.total_ms.map(|spread| spread.p50_ms),
        );
    }
    measures
}

fn differences(a: &Benchmark, b: &Benchmark) -> Vec<Difference> {
    let (first, second) = (measures(a), measures(b));
    let of = |measures: &[(String, f64)], what: &str| {
        measures
            .iter()
            .find(|(name, _)| name == what)
            .map(|(_, value)| *value)
    };
    let only_second = second.iter().filter(|(what, _)| of(&first, what).is_none());
    let names = first.iter().chain(only_second).map(|(what, _)| what.clone());
    names
        .map(|what| {
            let (a, b) = (of(&first, &what), of(&second, &what));
            let ratio = a.zip(b).filter(|(a, _)| *a > 0.0).map(|(a, b)| b / a);
            Difference { what, a, b, ratio }
        })
        .collect()
}

fn table(differences: &[Difference]) -> Table {
    let mut table = Table::new(&["WHAT", "A", "B", "B/A"]);
    for difference in differences {
        let ratio = difference
            .ratio
            .map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}×"));
        table.row([
            difference.what.clone(),
            digits_or_dash(difference.a),
            digits_or_dash(difference.b),
            ratio,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::benchmark::show::example;

    fn other() -> Benchmark {
        let mut other = example();
        let total = other.starts[0].total_ms.as_mut().unwrap();
        total.p50_ms = 8.0;
        other.starts.remove(1);
        other.memory[0].footprint = None;
        other.environment.as_mut().unwrap().kernel = "6.2".to_owned();
        other
    }

    #[test]
    fn each_number_is_told_beside_its_ratio() {
        insta::assert_snapshot!(table(&differences(&example(), &other())).render(None, false), @r"
        WHAT                                           A     B     B/A
        sandbox, cold, no-op: total p50, ms            16.0  8.00  0.50×
        sandbox, cold, no-op: total p99, ms            32.0  32.0  1.00×
        sandbox, cold, no-op: start p50, ms            4.00  4.00  1.00×
        sandbox, warm, no-op: total p50, ms            0.50  –     –
        sandbox, warm, no-op: total p99, ms            1.00  –     –
        sandbox, warm, no-op: start p50, ms            0.12  –     –
        sandbox, warm, 16 at once: per second          2000  2000  1.00×
        sandbox, memory of one instance: PSS, MiB      8.00  –     –
        sandbox, memory of one instance: private, MiB  6.00  –     –
        bare python: p50, ms                           11.0  11.0  1.00×
        ");
    }

    #[test]
    fn what_only_the_second_has_comes_last() {
        let differences = differences(&other(), &example());
        let last = differences.last().unwrap();
        assert_eq!((last.a, last.b, last.ratio), (None, Some(6.0), None));
    }

    #[test]
    fn differences_of_the_environment_are_told() {
        let facts = environments(&example(), &other());
        let expected = Fact {
            name: "kernel".to_owned(),
            a: Some("6.1".to_owned()),
            b: Some("6.2".to_owned()),
        };
        assert_eq!(facts, [expected]);
        assert_eq!(environments(&example(), &example()), []);
    }
}
