//! Logical lines: comments and continuations resolved, and where each character came from.

use super::FileError;

/// A logical line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    /// Byte offsets in `text` from which characters come from a line and a column.
    starts: Vec<(usize, usize, usize)>,
}

impl Line {
    /// Returns the line and the column of a byte of the text.
    pub(super) fn place(&self, offset: usize) -> (usize, usize) {
        let at = self.starts.partition_point(|(start, ..)| *start <= offset);
        let Some(&(start, line, column)) = at.checked_sub(1).and_then(|at| self.starts.get(at)) else {
            return (1, 1);
        };
        let between = self.text.get(start..offset).unwrap_or_default();
        (line, column + between.chars().count())
    }

    pub(super) fn error(&self, offset: usize, message: impl Into<String>) -> FileError {
        let (line, column) = self.place(offset);
        FileError {
            line,
            column,
            message: message.into(),
        }
    }
}

/// Splits a file into logical lines, and returns them with the character that escapes.
pub(super) fn lines(file: &str) -> Result<(Vec<Line>, char), FileError> {
    let escape = directives(file)?;
    let mut lines = Vec::new();
    let mut open: Option<Line> = None;
    for (index, raw) in file.split('\n').enumerate() {
        let raw = raw.strip_suffix('\r').unwrap_or(raw);
        let trimmed = raw.trim_start();
        // Comments and empty lines may also stand inside of a continued line.
        if trimmed.starts_with('#') || trimmed.trim_end().is_empty() {
            continue;
        }
        let (content, goes_on) = match raw.trim_end().strip_suffix(escape) {
            Some(content) => (content, true),
            None => (raw, false),
        };
        let line = open.get_or_insert_with(|| Line {
            text: String::new(),
            starts: Vec::new(),
        });
        let content = if line.text.is_empty() {
            content.trim_start()
        } else {
            content
        };
        let column = raw
            .find(content)
            .map_or(1, |at| raw.get(..at).unwrap_or_default().chars().count() + 1);
        line.starts.push((line.text.len(), index + 1, column));
        line.text.push_str(content);
        if !goes_on {
            lines.extend(open.take().map(ended));
        }
    }
    lines.extend(open.map(ended));
    lines.retain(|line| !line.text.is_empty());
    Ok((lines, escape))
}

fn ended(mut line: Line) -> Line {
    line.text.truncate(line.text.trim_end().len());
    line
}

/// Reads `# escape=` and passes over `# syntax=` and the like: comments before anything else.
fn directives(file: &str) -> Result<char, FileError> {
    let mut escape = '\\';
    for (index, line) in file.lines().enumerate() {
        let Some((name, value)) = line
            .trim()
            .strip_prefix('#')
            .and_then(|comment| comment.split_once('='))
        else {
            break;
        };
        let name = name.trim().to_ascii_lowercase();
        match (name.as_str(), value.trim()) {
            ("escape", "\\") => {}
            ("escape", "`") => escape = '`',
            ("escape", other) => {
                return Err(FileError {
                    line: index + 1,
                    column: 1,
                    message: format!("the escape character is '{other}'; it is \\ or `"),
                });
            }
            ("syntax" | "check", _) => {}
            _ => break,
        }
    }
    Ok(escape)
}
