//! The report: one HTML file that needs no network and no script, in light and dark.

use std::fmt::Write as _;

use vulcan_api::{Benchmark, BenchmarkShares, BenchmarkStart, BenchmarkWork, Spread};

use super::{
    chart::{Bar, Part, chart},
    escape::escaped,
    numbers::{digits, mebibytes},
    rows::{self, Rows},
};

const STYLE: &str = include_str!("report.css");
const LEGEND: &str = "<p class=\"legend\"><span class=\"queued\"></span>queued <span class=\"start\"></span>start \
    <span class=\"run\"></span>run <span class=\"rest\"></span>rest (taking in, recording) \
    <span class=\"bare\"></span>bare command; the line goes to the 99th percentile</p>\n";

/// Writes the whole page.
pub(super) fn page(record: &Benchmark) -> String {
    let title = format!("Vulcan benchmark {}", record.id);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{0}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{0}</h1>\n<p>{1}</p>\n",
        escaped(&title),
        escaped(&rows::headline(record))
    );
    page.push_str(&environment(record));
    page.push_str(&charts(record));
    for table in rows::all(record) {
        page.push_str(&drawn(&table));
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn environment(record: &Benchmark) -> String {
    let mut list = String::from("<dl>\n");
    for (name, value) in rows::environment(record) {
        put(
            &mut list,
            format_args!("<dt>{}</dt><dd>{}</dd>\n", escaped(&name), escaped(&value)),
        );
    }
    list.push_str("</dl>\n");
    list
}

fn charts(record: &Benchmark) -> String {
    let mut charts = String::new();
    for work in BenchmarkWork::ALL {
        let bars = work_bars(record, *work);
        if !bars.is_empty() {
            charts.push_str(&chart(
                &format!("{}, one at a time, median in ms", work.title()),
                "ms",
                &bars,
            ));
        }
    }
    if !charts.is_empty() {
        charts.insert_str(0, LEGEND);
    }
    let rates: Vec<Bar> = record.rates.iter().map(rate_bar).collect();
    if !rates.is_empty() {
        charts.push_str(&chart("No-ops per second, many at once", "per second", &rates));
    }
    let memory: Vec<Bar> = record.memory.iter().filter_map(memory_bar).collect();
    if !memory.is_empty() {
        let title = "Memory of one instance in MiB: its own, and its part of what is shared";
        charts.push_str(&chart(title, "MiB", &memory));
    }
    charts
}

fn work_bars(record: &Benchmark, work: BenchmarkWork) -> Vec<Bar> {
    let starts = record.starts.iter().filter(|row| row.work == work);
    let mut bars: Vec<Bar> = starts.filter_map(start_bar).collect();
    if work == BenchmarkWork::Noop && !bars.is_empty() {
        bars.extend(record.floors.iter().filter_map(|floor| {
            let total = floor.total_ms?;
            Some(spread_bar(
                shortened(&floor.text),
                vec![part("bare", total.p50_ms)],
                total,
            ))
        }));
    }
    bars
}

fn start_bar(row: &BenchmarkStart) -> Option<Bar> {
    let total = row.total_ms?;
    let shares = row.shares?;
    let label = format!("{}, {}", row.isolation, row.start.as_str());
    Some(spread_bar(label, parts(shares, total), total))
}

/// The medians of the parts are not exactly the parts of the median: they are scaled to it.
fn parts(shares: BenchmarkShares, total: Spread) -> Vec<Part> {
    let sum = shares.queued_ms + shares.start_ms + shares.run_ms + shares.rest_ms;
    let scale = if sum > 0.0 { total.p50_ms / sum } else { 0.0 };
    vec![
        part("queued", shares.queued_ms * scale),
        part("start", shares.start_ms * scale),
        part("run", shares.run_ms * scale),
        part("rest", shares.rest_ms * scale),
    ]
}

fn spread_bar(label: String, parts: Vec<Part>, total: Spread) -> Bar {
    Bar {
        label,
        parts,
        mark: Some(total.p99_ms),
        text: format!("{} ms, p99 {}", digits(total.p50_ms), digits(total.p99_ms)),
    }
}

fn rate_bar(row: &vulcan_api::BenchmarkRate) -> Bar {
    Bar {
        label: format!(
            "{}, {}, {} at once",
            row.isolation,
            row.start.as_str(),
            row.concurrency
        ),
        parts: vec![part("rate", row.per_second)],
        mark: None,
        text: format!("{} per second", digits(row.per_second)),
    }
}

fn memory_bar(row: &vulcan_api::BenchmarkMemory) -> Option<Bar> {
    let footprint = row.footprint?;
    let private = mebibytes(footprint.private_bytes);
    let shared = (mebibytes(footprint.pss_bytes) - private).max(0.0);
    Some(Bar {
        label: format!("{}, {}", row.isolation, row.runtime),
        parts: vec![part("private", private), part("shared", shared)],
        mark: None,
        text: format!(
            "{} MiB, {} of its own",
            digits(mebibytes(footprint.pss_bytes)),
            digits(private)
        ),
    })
}

const fn part(style: &'static str, value: f64) -> Part {
    Part { style, value }
}

/// Cuts a command to what fits beside its bar.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 32;
    if text.chars().count() <= CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(CHARS_MAX).chain(['…']).collect()
}

fn drawn(table: &Rows) -> String {
    let mut html = format!(
        "<h2>{}</h2>\n<div class=\"scroll\"><table>\n<tr>",
        escaped(table.title)
    );
    for column in table.columns {
        put(
            &mut html,
            format_args!("<th>{}</th>", escaped(&column.to_lowercase())),
        );
    }
    html.push_str("</tr>\n");
    for row in &table.rows {
        html.push_str("<tr>");
        for cell in row {
            let class = if is_number(cell) { " class=\"number\"" } else { "" };
            put(&mut html, format_args!("<td{class}>{}</td>", escaped(cell)));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</table></div>\n");
    html
}

fn is_number(cell: &str) -> bool {
    cell == "–" || cell.parse::<f64>().is_ok()
}

fn put(html: &mut String, text: std::fmt::Arguments<'_>) {
    html.write_fmt(text).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::benchmark::show::example;

    #[test]
    fn the_report_is_one_page_without_a_script_or_an_address() {
        let page = page(&example());
        for foreign in [
            "<script", "http://", "https://", "<link", "<img", "url(", "@import", "<Abacus>",
        ] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(page.contains("2 × &lt;Abacus&gt; &amp; Sons"), "{page}");
        let body = page.split_once("</style>").unwrap().1;
        insta::assert_snapshot!(body, @r#"
        </head>
        <body>
        <h1>Vulcan benchmark bm_01JKQX7V8MZRN3B4HTGFWDCS9E</h1>
        <p>bm_01JKQX7V8MZRN3B4HTGFWDCS9E completed · 2026-11-22T10:00:00.000Z</p>
        <dl>
        <dt>node</dt><dd>newt</dd>
        <dt>processor</dt><dd>2 × &lt;Abacus&gt; &amp; Sons</dd>
        <dt>memory</dt><dd>4096 MiB</dd>
        <dt>kernel</dt><dd>6.1</dd>
        <dt>python3</dt><dd>Python 3.11.2</dd>
        <dt>vulcan</dt><dd>0.1.0</dd>
        </dl>
        <p class="legend"><span class="queued"></span>queued <span class="start"></span>start <span class="run"></span>run <span class="rest"></span>rest (taking in, recording) <span class="bare"></span>bare command; the line goes to the 99th percentile</p>
        <figure><figcaption>no-op, one at a time, median in ms</figcaption>
        <svg viewBox="0 0 900 78" role="img" aria-label="no-op, one at a time, median in ms">
        <text class="label" x="240" y="13">sandbox, cold</text>
        <rect class="queued" x="250.00" y="5" width="30.00" height="16"><title>queued 2.00 ms</title></rect>
        <rect class="start" x="280.00" y="5" width="60.00" height="16"><title>start 4.00 ms</title></rect>
        <rect class="run" x="340.00" y="5" width="120.00" height="16"><title>run 8.00 ms</title></rect>
        <rect class="rest" x="460.00" y="5" width="30.00" height="16"><title>rest 2.00 ms</title></rect>
        <path class="mark" d="M490.00 13H730.00M730.00 5v16"/>
        <text class="value" x="738.00" y="13">16.0 ms, p99 32.0</text>
        <text class="label" x="240" y="39">sandbox, warm</text>
        <rect class="queued" x="250.00" y="31" width="0.94" height="16"><title>queued 0.06 ms</title></rect>
        <rect class="start" x="250.94" y="31" width="1.88" height="16"><title>start 0.12 ms</title></rect>
        <rect class="run" x="252.81" y="31" width="3.75" height="16"><title>run 0.25 ms</title></rect>
        <rect class="rest" x="256.56" y="31" width="0.94" height="16"><title>rest 0.06 ms</title></rect>
        <path class="mark" d="M257.50 39H265.00M265.00 31v16"/>
        <text class="value" x="273.00" y="39">0.50 ms, p99 1.00</text>
        <text class="label" x="240" y="65">python3 -c pass</text>
        <rect class="bare" x="250.00" y="57" width="165.00" height="16"><title>bare 11.0 ms</title></rect>
        <path class="mark" d="M415.00 65H580.00M580.00 57v16"/>
        <text class="value" x="588.00" y="65">11.0 ms, p99 22.0</text>
        </svg></figure>
        <figure><figcaption>No-ops per second, many at once</figcaption>
        <svg viewBox="0 0 900 26" role="img" aria-label="No-ops per second, many at once">
        <text class="label" x="240" y="13">sandbox, warm, 16 at once</text>
        <rect class="rate" x="250.00" y="5" width="480.00" height="16"><title>rate 2000 per second</title></rect>
        <text class="value" x="738.00" y="13">2000 per second</text>
        </svg></figure>
        <figure><figcaption>Memory of one instance in MiB: its own, and its part of what is shared</figcaption>
        <svg viewBox="0 0 900 26" role="img" aria-label="Memory of one instance in MiB: its own, and its part of what is shared">
        <text class="label" x="240" y="13">sandbox, python</text>
        <rect class="private" x="250.00" y="5" width="360.00" height="16"><title>private 6.00 MiB</title></rect>
        <rect class="shared" x="610.00" y="5" width="120.00" height="16"><title>shared 2.00 MiB</title></rect>
        <text class="value" x="738.00" y="13">8.00 MiB, 6.00 of its own</text>
        </svg></figure>
        <h2>One at a time, in ms</h2>
        <div class="scroll"><table>
        <tr><th>work</th><th>class</th><th>start</th><th>n</th><th>total p50</th><th>p99</th><th>start p50</th><th>p99</th><th>queued</th><th>run</th><th>rest</th><th>cpu</th><th>peak mib</th><th>remarks</th></tr>
        <tr><td>no-op</td><td>sandbox</td><td>cold</td><td class="number">100</td><td class="number">16.0</td><td class="number">32.0</td><td class="number">4.00</td><td class="number">8.00</td><td class="number">2.00</td><td class="number">8.00</td><td class="number">2.00</td><td class="number">11.5</td><td class="number">8.25</td><td></td></tr>
        <tr><td>no-op</td><td>sandbox</td><td>warm</td><td class="number">100</td><td class="number">0.50</td><td class="number">1.00</td><td class="number">0.12</td><td class="number">0.25</td><td class="number">0.06</td><td class="number">0.25</td><td class="number">0.06</td><td class="number">11.5</td><td class="number">8.25</td><td></td></tr>
        </table></div>
        <h2>Many no-ops at once</h2>
        <div class="scroll"><table>
        <tr><th>class</th><th>start</th><th>at once</th><th>per second</th><th>p50 ms</th><th>p99 ms</th><th>started so</th><th>remarks</th></tr>
        <tr><td>sandbox</td><td>warm</td><td class="number">16</td><td class="number">2000</td><td class="number">7.50</td><td class="number">15.0</td><td>3990 of 4000</td><td>1 failed: the queue is full</td></tr>
        </table></div>
        <h2>Memory of one instance, in MiB</h2>
        <div class="scroll"><table>
        <tr><th>class</th><th>runtime</th><th>pss</th><th>private</th><th>processes</th></tr>
        <tr><td>sandbox</td><td>python</td><td class="number">8.00</td><td class="number">6.00</td><td class="number">2</td></tr>
        </table></div>
        <h2>Bare commands, in turns with the no-ops, in ms</h2>
        <div class="scroll"><table>
        <tr><th>command</th><th>floor of</th><th>n</th><th>p50</th><th>p99</th><th>remarks</th></tr>
        <tr><td>python3 -c pass</td><td>sandbox</td><td class="number">100</td><td class="number">11.0</td><td class="number">22.0</td><td></td></tr>
        </table></div>
        <h2>Not measured</h2>
        <div class="scroll"><table>
        <tr><th>what</th><th>why</th></tr>
        <tr><td>microvm</td><td>no node offers it</td></tr>
        <tr><td>sandbox, forked: no-op</td><td>not offered: no workload was started forked</td></tr>
        <tr><td>bare bubblewrap</td><td>there is no bwrap on the node: install Debian&#39;s package bubblewrap</td></tr>
        </table></div>
        </body>
        </html>
        "#);
    }

    #[test]
    fn a_benchmark_without_a_number_is_a_page_nevertheless() {
        let mut record = example();
        (record.starts, record.rates, record.memory, record.floors) = Default::default();
        record.environment = None;
        let page = page(&record);
        assert!(!page.contains("<svg"));
        assert!(page.contains("no node offers it"));
    }
}
