//! Tables for people.

use comfy_table::{Attribute, Cell, ContentArrangement, presets};

use super::sanitized;

/// Rows under a header; foreign text in cells is made harmless.
#[derive(Debug, Default)]
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Starts a table.
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Self {
            header: header.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Writes the table, at most `width` columns wide, every line with its end and no spaces before it.
    pub(crate) fn render(self, width: Option<u16>, has_colour: bool) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        if has_colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        match width {
            Some(width) => table
                .set_width(width)
                .set_content_arrangement(ContentArrangement::Dynamic),
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        if !self.header.is_empty() {
            table.set_header(
                self.header
                    .iter()
                    .map(|name| Cell::new(name).add_attribute(Attribute::Bold)),
            );
        }
        for row in &self.rows {
            table.add_row(row.iter().map(|cell| sanitized(cell)));
        }
        if let Some(first) = table.column_mut(0) {
            first.set_padding((0, 1));
        }
        table
            .lines()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect()
    }
}

/// Makes a table of names and values; a value that is `None` is left out.
pub(crate) fn fields(pairs: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Table {
    let mut table = Table::default();
    for (name, value) in pairs {
        if let Some(value) = value {
            table.row([name.to_owned(), value]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up_without_borders_and_without_escapes() {
        let mut table = Table::new(&["ID", "STATUS"]);
        table.row(["wl_1".into(), "completed".into()]);
        table.row(["wl_22".into(), "\x1b[31mred".into()]);
        insta::assert_snapshot!(table.render(None, false), @r"
        ID     STATUS
        wl_1   completed
        wl_22  ␛[31mred
        ");
    }

    #[test]
    fn a_narrow_terminal_wraps_cells() {
        let mut table = Table::new(&["NAME", "REASON"]);
        table.row(["a".into(), "auto: everything else runs under sandbox here".into()]);
        let text = table.render(Some(30), false);
        assert!(text.lines().all(|line| line.chars().count() <= 30), "{text}");
        assert!(text.lines().count() > 2);
    }

    #[test]
    fn missing_values_are_left_out() {
        let table = fields([("id", Some("1".to_owned())), ("error", None)]);
        insta::assert_snapshot!(table.render(None, false), @"id  1");
    }
}
