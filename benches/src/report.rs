//! What was measured, what it should have been, and how both are printed.

use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde::Serialize;

use crate::{
    classes::{self, Classes},
    latency::Latency,
    leftovers::Held,
    load::Load,
    machine::Machine,
    sample::to_f64,
    soak::Soak,
};

/// Everything of one run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// Where and when.
    pub(crate) machine: Machine,
    /// Whether times are judged.
    pub(crate) is_quick: bool,
    /// One at a time.
    pub(crate) latencies: Vec<Latency>,
    /// The idle server's memory in MiB.
    pub(crate) rss_idle_mb: f64,
    /// Many at once, where that was measured.
    pub(crate) load: Option<Load>,
    /// Many that end badly, where that was measured.
    pub(crate) soak: Option<Soak>,
    /// Single classes.
    pub(crate) classes: Classes,
    /// What was held when.
    pub(crate) held: Moments,
    /// All targets, in the order of the table.
    pub(crate) verdicts: Vec<Verdict>,
}

/// What was held when.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Moments {
    /// Before the server started.
    pub(crate) before_start: Held,
    /// Before and after the soak, with the server idle.
    pub(crate) around_soak: Option<(Held, Held)>,
    /// After the server stopped.
    pub(crate) after_stop: Held,
}

/// One target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Verdict {
    /// What is judged.
    pub(crate) what: String,
    /// What was measured.
    pub(crate) measured: String,
    /// What is wanted.
    pub(crate) target: String,
    /// Whether it holds; `None` where it is not judged.
    pub(crate) has_passed: Option<bool>,
}

impl Report {
    /// Returns whether no target was missed.
    pub(crate) fn has_passed(&self) -> bool {
        self.verdicts
            .iter()
            .all(|verdict| verdict.has_passed != Some(false))
    }

    /// Judges what was measured.
    pub(crate) fn judge(&mut self) {
        let mut verdicts: Vec<Verdict> = self.latencies.iter().filter_map(latency_verdict).collect();
        verdicts.extend(self.load.iter().flat_map(load_verdicts));
        verdicts.extend(memory_verdicts(self));
        verdicts.extend(self.classes.verdicts());
        for verdict in &mut verdicts {
            verdict.has_passed = verdict.has_passed.filter(|_| !self.is_quick);
        }
        verdicts.extend(self.classes.errors());
        let errors = self.load.iter().map(|load| ("load: errors", load.errors));
        let wrong = self.soak.iter().map(|soak| ("soak: wrong endings", soak.wrong));
        verdicts.extend(
            errors
                .chain(wrong)
                .map(|(what, count)| at_most(what, to_f64(count), 0.0, "")),
        );
        if let Some((before, after)) = &self.held.around_soak {
            verdicts.push(leftover_verdict("left over by the soak", after, before));
        }
        verdicts.push(leftover_verdict(
            "left over by the server",
            &self.held.after_stop,
            &self.held.before_start,
        ));
        self.verdicts = verdicts;
    }

    /// Prints the tables as Markdown.
    pub(crate) fn print(&self) {
        let machine = &self.machine;
        let user = if machine.is_root {
            "root"
        } else {
            "an ordinary user"
        };
        println!(
            "\n{}, commit {}, {}, kernel {}, as {user}\n",
            machine.date, machine.commit, machine.cpu, machine.kernel
        );
        if !self.latencies.is_empty() {
            println!("{}\n", latency_table(&self.latencies));
            println!("{}\n", shares_table(&self.latencies));
        }
        classes::print(&self.classes);
        if let Some(load) = &self.load {
            println!("{}\n", load_table(load, self.rss_idle_mb));
        }
        println!("{}\n", held_table(&self.held));
        println!("{}", verdict_table(&self.verdicts));
        let first_error = self.load.as_ref().and_then(|load| load.first_error.as_ref());
        let first_wrong = self.soak.as_ref().and_then(|soak| soak.first_wrong.as_ref());
        for first in first_error.into_iter().chain(first_wrong) {
            println!("\nfirst error: {first}");
        }
    }
}

fn latency_verdict(latency: &Latency) -> Option<Verdict> {
    Some(at_most(
        &format!("{}: p50 against bare", latency.name),
        latency.ratio,
        latency.ratio_max?,
        "×",
    ))
}

fn load_verdicts(load: &Load) -> [Verdict; 2] {
    let spread = load.latency.p99_ms / load.latency.p50_ms;
    [
        at_least("load: workloads per second", load.rate, 200.0),
        at_most("load: p99 against p50", spread, 10.0, "×"),
    ]
}

fn memory_verdicts(report: &Report) -> Vec<Verdict> {
    let idle = at_most("server memory, idle", report.rss_idle_mb, 40.0, " MiB");
    let growth = report.load.as_ref().map(|load| {
        let rss = &load.rss_mb;
        let what = format!(
            "server memory, growth from {} to {} workloads",
            rss.first_at, rss.last_at
        );
        at_most(&what, rss.last - rss.first, 10.0, " MiB")
    });
    std::iter::once(idle).chain(growth).collect()
}

/// Judges what is to be small.
pub(crate) fn at_most(what: &str, measured: f64, target: f64, unit: &str) -> Verdict {
    Verdict {
        what: what.to_owned(),
        measured: format!("{}{unit}", number(measured)),
        target: format!("≤ {}{unit}", number(target)),
        has_passed: Some(measured <= target),
    }
}

/// Judges what is to be large.
pub(crate) fn at_least(what: &str, measured: f64, target: f64) -> Verdict {
    Verdict {
        what: what.to_owned(),
        measured: number(measured),
        target: format!("≥ {}", number(target)),
        has_passed: Some(measured >= target),
    }
}

fn leftover_verdict(what: &str, after: &Held, before: &Held) -> Verdict {
    let more = after.beyond(before);
    Verdict {
        what: what.to_owned(),
        measured: if more.is_empty() {
            "nothing".to_owned()
        } else {
            more.join(", ")
        },
        target: "nothing".to_owned(),
        has_passed: Some(more.is_empty()),
    }
}

/// Writes a number for the tables.
pub(crate) fn number(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// Starts a table.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    table
}

fn latency_table(latencies: &[Latency]) -> Table {
    let mut table = table([
        "workload, one at a time",
        "p50 ms",
        "p99 ms",
        "bare command",
        "p50 ms",
        "p99 ms",
        "ratio of p50",
    ]);
    for latency in latencies {
        table.add_row([
            latency.name.to_owned(),
            number(latency.total.p50_ms),
            number(latency.total.p99_ms),
            latency.bare_command.clone(),
            number(latency.bare.p50_ms),
            number(latency.bare.p99_ms),
            number(latency.ratio),
        ]);
    }
    table
}

fn shares_table(latencies: &[Latency]) -> Table {
    let mut table = table([
        "where the time goes, p50 ms",
        "queued",
        "start",
        "run",
        "HTTP and commit",
    ]);
    for latency in latencies {
        let shares = &latency.shares;
        table.add_row([
            latency.name.to_owned(),
            number(shares.queued_ms),
            number(shares.start_ms),
            number(shares.run_ms),
            number(shares.outside_ms),
        ]);
    }
    table
}

fn load_table(load: &Load, rss_idle_mb: f64) -> Table {
    let mut table = table(["load", "value"]);
    table.add_row([
        "clients × seconds".to_owned(),
        format!("{} × {}", load.clients, number(load.seconds)),
    ]);
    table.add_row(["completed".to_owned(), load.completed.to_string()]);
    table.add_row(["per second".to_owned(), number(load.rate)]);
    table.add_row(["errors".to_owned(), load.errors.to_string()]);
    table.add_row(["p50 ms".to_owned(), number(load.latency.p50_ms)]);
    table.add_row(["p99 ms".to_owned(), number(load.latency.p99_ms)]);
    table.add_row(["server memory, idle, MiB".to_owned(), number(rss_idle_mb)]);
    for (at, memory) in [
        (load.rss_mb.first_at, load.rss_mb.first),
        (load.rss_mb.last_at, load.rss_mb.last),
    ] {
        table.add_row([format!("server memory after {at} workloads, MiB"), number(memory)]);
    }
    table
}

fn held_table(held: &Moments) -> Table {
    let mut moments = vec![("before start", &held.before_start)];
    if let Some((before, after)) = &held.around_soak {
        moments.extend([("before soak", before), ("after soak", after)]);
    }
    moments.push(("after stop", &held.after_stop));
    let mut table = Table::new();
    let names = moments.iter().map(|(name, _)| *name);
    table
        .load_style(ASCII_MARKDOWN)
        .set_header(std::iter::once("held on the host").chain(names));
    for (index, (name, _)) in held.before_start.rows().into_iter().enumerate() {
        let counts = moments
            .iter()
            .map(|(_, moment)| moment.rows()[index].1.to_string());
        table.add_row(std::iter::once(name.to_owned()).chain(counts));
    }
    table
}

fn verdict_table(verdicts: &[Verdict]) -> Table {
    let mut table = table(["target", "measured", "wanted", ""]);
    for verdict in verdicts {
        let word = match verdict.has_passed {
            Some(true) => "pass",
            Some(false) => "MISS",
            None => "not judged",
        };
        table.add_row([verdict.what.as_str(), &verdict.measured, &verdict.target, word]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_missed_beyond_its_limit_only() {
        assert_eq!(at_most("a", 1.4, 1.4, "×").has_passed, Some(true));
        assert_eq!(at_most("a", 1.41, 1.4, "×").has_passed, Some(false));
        assert_eq!(at_least("a", 199.9, 200.0).has_passed, Some(false));
    }
}
