//! The tables and the verdicts of single classes.

use comfy_table::Table;

use super::{
    run::{Classes, Start},
    targets::Limit,
};
use crate::report::{Verdict, at_least, at_most, number, table};

impl Classes {
    /// Returns a verdict per target; what is missing misses its target.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts: Vec<Verdict> = self.starts.iter().map(start_verdict).collect();
        for start in &self.starts {
            let Some(rate) = &start.rate else { continue };
            verdicts.push(at_least(
                &format!("{}: per second", start.name),
                rate.per_second,
                rate.wanted,
            ));
        }
        if let Some(pull) = &self.pull {
            let what = "a 200 MB image, pulled and unpacked: p50";
            verdicts.push(at_most(what, pull.ours.p50_ms, pull.bare.p50_ms, " ms"));
        }
        if self.has_looked_for_blank {
            verdicts.push(match &self.blank {
                Some(blank) => at_most(
                    "one blank isolate: private memory",
                    blank.private_mb,
                    blank.wanted_mb,
                    " MiB",
                ),
                None => missing("one blank isolate: private memory", "there was none"),
            });
        }
        verdicts
    }

    /// Returns what is wrong, whatever the machine: judged even where times are not.
    pub(crate) fn errors(&self) -> Vec<Verdict> {
        let rates = self
            .starts
            .iter()
            .filter_map(|start| Some((start.name, start.rate.as_ref()?)));
        let crowds = self.crowds.iter().map(|crowd| {
            let what = format!("{} {} at once: failures", crowd.wanted, crowd.isolation);
            at_most(&what, crowd.failed as f64, 0.0, "")
        });
        rates
            .map(|(name, rate)| at_most(&format!("{name}: errors under load"), rate.failed, 0.0, ""))
            .chain(crowds)
            .collect()
    }
}

fn start_verdict(start: &Start) -> Verdict {
    let what = format!("{}: p50", start.name);
    match (&start.missing, start.total) {
        (Some(reason), _) => missing(&what, reason),
        (None, Some(total)) if start.is_as_wanted() => match (start.limit, start.bare) {
            (Limit::Ms(most), _) => at_most(&what, total.p50_ms, most, " ms"),
            (Limit::MsOverBare(over), Some(bare)) => at_most(&what, total.p50_ms, bare.p50_ms + over, " ms"),
            (Limit::MsOverBare(_), None) => missing(&what, "there was no bare floor"),
        },
        (None, _) => missing(
            &what,
            &format!("{} were started otherwise", start.started_otherwise),
        ),
    }
}

fn missing(what: &str, reason: &str) -> Verdict {
    Verdict {
        what: what.to_owned(),
        measured: reason.to_owned(),
        target: "to be there".to_owned(),
        has_passed: Some(false),
    }
}

/// Prints what was measured.
pub(crate) fn print(classes: &Classes) {
    if !classes.starts.is_empty() {
        println!("{}\n", starts(&classes.starts));
    }
    if classes.starts.iter().any(|start| start.rate.is_some()) {
        println!("{}\n", rates(&classes.starts));
    }
    for crowd in &classes.crowds {
        let (wanted, class, seconds) = (crowd.wanted, crowd.isolation, number(crowd.seconds));
        println!("{wanted} {class} at once, each asleep for a second: all over after {seconds} s\n");
    }
    if let Some(pull) = &classes.pull {
        println!(
            "a 200 MB image out of a registry on loopback: {} ms, {} with skopeo copy and umoci unpack\n",
            number(pull.ours.p50_ms),
            number(pull.bare.p50_ms)
        );
    }
    if let Some(blank) = &classes.blank {
        println!(
            "one blank isolate, median of {}: {} MiB private\n",
            blank.count,
            number(blank.private_mb)
        );
    }
}

fn starts(starts: &[Start]) -> Table {
    let mut table = table([
        "start, one at a time",
        "p50 ms",
        "p99 ms",
        "otherwise",
        "bare floor",
        "p50 ms",
        "p99 ms",
        "ratio of p50",
    ]);
    let dash = || "–".to_owned();
    for start in starts {
        let ratio = start
            .total
            .zip(start.bare)
            .map(|(total, bare)| number(total.p50_ms / bare.p50_ms));
        table.add_row([
            start.name.to_owned(),
            start.total.map_or_else(dash, |total| number(total.p50_ms)),
            start.total.map_or_else(dash, |total| number(total.p99_ms)),
            start
                .missing
                .clone()
                .unwrap_or_else(|| start.started_otherwise.to_string()),
            start.bare_text.clone().unwrap_or_else(dash),
            start.bare.map_or_else(dash, |bare| number(bare.p50_ms)),
            start.bare.map_or_else(dash, |bare| number(bare.p99_ms)),
            ratio.unwrap_or_else(dash),
        ]);
    }
    table
}

fn rates(starts: &[Start]) -> Table {
    let mut table = table(["many at once", "per second", "started so", "errors", "load"]);
    for start in starts {
        let Some(rate) = &start.rate else { continue };
        table.add_row([
            start.name.to_owned(),
            number(rate.per_second),
            format!("{:.1} %", rate.started_so * 100.0),
            number(rate.failed),
            format!(
                "{}, {} connections, {} s",
                rate.generator,
                rate.connections,
                number(rate.seconds)
            ),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    fn start(otherwise: usize) -> Start {
        let mut sample = Sample::default();
        (0..20).for_each(|_| sample.push(4.0));
        Start {
            name: "a",
            missing: None,
            total: Some(sample.summary()),
            started_otherwise: otherwise,
            bare_text: None,
            bare: None,
            limit: Limit::Ms(5.0),
            rate: None,
        }
    }

    #[test]
    fn a_median_of_few_lucky_starts_passes_nothing() {
        assert_eq!(start_verdict(&start(0)).has_passed, Some(true));
        assert_eq!(start_verdict(&start(3)).has_passed, Some(false));
    }

    #[test]
    fn what_is_missing_misses_its_target() {
        let absent = Start {
            missing: Some("there is no deno".to_owned()),
            ..start(0)
        };
        let verdict = start_verdict(&absent);
        assert_eq!(
            (verdict.has_passed, verdict.measured.as_str()),
            (Some(false), "there is no deno")
        );
    }
}
