//! A benchmark on the terminal.

use vulcan_api::Benchmark;

use super::rows;
use crate::terminal::{Table, Terminal};

/// Prints everything.
pub(super) fn print(terminal: Terminal, record: &Benchmark) -> std::io::Result<()> {
    terminal.print(&format!("{}\n\n", rows::headline(record)))?;
    let mut facts = Table::default();
    for (name, value) in rows::environment(record) {
        facts.row([name, value]);
    }
    terminal.print_table(facts)?;
    for table in rows::all(record) {
        terminal.print(&format!("\n{}\n", table.title))?;
        terminal.print_table(drawn(&table))?;
    }
    Ok(())
}

/// A column in which nothing stands is left out.
fn drawn(table: &rows::Rows) -> Table {
    let is_used = |index: &usize| table.rows.iter().any(|row| !row[*index].is_empty());
    let used: Vec<usize> = (0..table.columns.len()).filter(is_used).collect();
    let header: Vec<&'static str> = used.iter().map(|index| table.columns[*index]).collect();
    let mut drawn = Table::new(&header);
    for row in &table.rows {
        drawn.row(used.iter().map(|index| row[*index].clone()));
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::benchmark::show::example;

    #[test]
    fn everything_that_was_measured_has_a_row() {
        let tables = rows::all(&example()).into_iter();
        let text: Vec<String> = tables
            .map(|table| format!("{}\n{}", table.title, drawn(&table).render(None, false)))
            .collect();
        insta::assert_snapshot!(text.join("\n"), @r"
        One at a time, in ms
        WORK   CLASS    START  N    TOTAL P50  P99   START P50  P99   QUEUED  RUN   REST  CPU   PEAK MIB
        no-op  sandbox  cold   100  16.0       32.0  4.00       8.00  2.00    8.00  2.00  11.5  8.25
        no-op  sandbox  warm   100  0.50       1.00  0.12       0.25  0.06    0.25  0.06  11.5  8.25

        Many no-ops at once
        CLASS    START  AT ONCE  PER SECOND  P50 MS  P99 MS  STARTED SO    REMARKS
        sandbox  warm   16       2000        7.50    15.0    3990 of 4000  1 failed: the queue is full

        Memory of one instance, in MiB
        CLASS    RUNTIME  PSS   PRIVATE  PROCESSES
        sandbox  python   8.00  6.00     2

        Bare commands, in turns with the no-ops, in ms
        COMMAND          FLOOR OF  N    P50   P99
        python3 -c pass  sandbox   100  11.0  22.0

        Not measured
        WHAT                    WHY
        microvm                 no node offers it
        sandbox, forked: no-op  not offered: no workload was started forked
        bare bubblewrap         there is no bwrap on the node: install Debian's package bubblewrap
        ");
    }
}
