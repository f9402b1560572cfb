//! Bar charts as SVG: horizontal, one line per bar, no scripts.

use std::fmt::Write as _;

use super::{escape::escaped, numbers::digits};

/// The whole width, the part of it that labels take, and the longest bar, in SVG's units.
const WIDTH: f64 = 900.0;
const LABEL: f64 = 250.0;
const BAR: f64 = 480.0;
/// The height of a line and of its bar.
const LINE: f64 = 26.0;
const THICKNESS: f64 = 16.0;

/// A part of a bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    /// The class of its style, which the legend explains.
    pub(super) style: &'static str,
    /// Its length in the chart's unit.
    pub(super) value: f64,
}

/// One line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bar {
    /// What it stands for.
    pub(super) label: String,
    /// From left to right.
    pub(super) parts: Vec<Part>,
    /// A mark beyond the bar, the 99th percentile for example.
    pub(super) mark: Option<f64>,
    /// What is written behind it.
    pub(super) text: String,
}

impl Bar {
    fn length(&self) -> f64 {
        self.parts.iter().map(|part| part.value).sum()
    }
}

/// Draws a chart; `unit` is what its numbers count.
pub(super) fn chart(title: &str, unit: &str, bars: &[Bar]) -> String {
    let height = LINE * f64::from(u32::try_from(bars.len()).unwrap_or(u32::MAX));
    let longest = bars.iter().map(Bar::length).fold(0.0, f64::max);
    // Marks far beyond every bar are cut, not allowed to make all bars small.
    let full = bars
        .iter()
        .filter_map(|bar| bar.mark)
        .fold(longest, f64::max)
        .min(longest * 2.0);
    let scale = if full > 0.0 { BAR / full } else { 0.0 };
    let mut svg = format!(
        "<figure><figcaption>{}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n",
        escaped(title),
        escaped(title)
    );
    let mut top = 0.0;
    for bar in bars {
        line(&mut svg, bar, (top, scale), unit);
        top += LINE;
    }
    svg.push_str("</svg></figure>\n");
    svg
}

fn line(svg: &mut String, bar: &Bar, (top, scale): (f64, f64), unit: &str) {
    let middle = top + LINE / 2.0;
    let y = middle - THICKNESS / 2.0;
    let mut put = |text: std::fmt::Arguments<'_>| svg.write_fmt(text).expect("a String takes everything");
    put(format_args!(
        "<text class=\"label\" x=\"{}\" y=\"{middle}\">{}</text>\n",
        LABEL - 10.0,
        escaped(&bar.label)
    ));
    let mut x = LABEL;
    for part in &bar.parts {
        let width = (part.value * scale).max(0.0);
        put(format_args!(
            "<rect class=\"{}\" x=\"{x:.2}\" y=\"{y}\" width=\"{width:.2}\" height=\"{THICKNESS}\"><title>{} {} {}</title></rect>\n",
            part.style,
            part.style,
            digits(part.value),
            escaped(unit)
        ));
        x += width;
    }
    if let Some(mark) = bar.mark {
        let end = LABEL + (mark * scale).min(BAR);
        put(format_args!(
            "<path class=\"mark\" d=\"M{x:.2} {middle}H{end:.2}M{end:.2} {y}v{THICKNESS}\"/>\n"
        ));
        x = x.max(end);
    }
    put(format_args!(
        "<text class=\"value\" x=\"{:.2}\" y=\"{middle}\">{}</text>\n",
        x + 8.0,
        escaped(&bar.text)
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, value: f64, mark: Option<f64>) -> Bar {
        Bar {
            label: label.to_owned(),
            parts: vec![Part { style: "run", value }],
            mark,
            text: digits(value),
        }
    }

    #[test]
    fn bars_are_in_proportion_and_their_labels_are_text() {
        let svg = chart(
            "a < b",
            "ms",
            &[bar("<b>", 10.0, Some(20.0)), bar("c", 5.0, None)],
        );
        insta::assert_snapshot!(svg, @r#"
        <figure><figcaption>a &lt; b</figcaption>
        <svg viewBox="0 0 900 52" role="img" aria-label="a &lt; b">
        <text class="label" x="240" y="13">&lt;b&gt;</text>
        <rect class="run" x="250.00" y="5" width="240.00" height="16"><title>run 10.0 ms</title></rect>
        <path class="mark" d="M490.00 13H730.00M730.00 5v16"/>
        <text class="value" x="738.00" y="13">10.0</text>
        <text class="label" x="240" y="39">c</text>
        <rect class="run" x="250.00" y="31" width="120.00" height="16"><title>run 5.00 ms</title></rect>
        <text class="value" x="378.00" y="39">5.00</text>
        </svg></figure>
        "#);
    }

    #[test]
    fn a_mark_far_away_does_not_make_the_bars_small() {
        let svg = chart("a", "ms", &[bar("a", 10.0, Some(10_000.0))]);
        assert!(svg.contains("width=\"240.00\""), "{svg}");
    }

    #[test]
    fn nothing_to_draw_is_no_division_by_zero() {
        assert!(!chart("a", "ms", &[bar("a", 0.0, None)]).contains("NaN"));
    }
}
