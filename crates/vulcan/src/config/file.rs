//! The TOML file, taken apart into keys with their lines.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::load::{ConfigError, Origin};

/// One value of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The dotted name.
    pub(super) path: String,
    /// The value as text; what is no scalar is `None`.
    pub(super) value: Option<String>,
    /// The line it stands in, from 1.
    pub(super) line: usize,
}

/// Takes a file's text apart.
pub(super) fn entries(file: &Path, text: &str) -> Result<Vec<Entry>, ConfigError> {
    let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
        origin: Origin::File {
            file: file.to_owned(),
            line: line_of(text, error.span().map_or(0, |span| span.start)),
        },
        reason: error.message().to_owned(),
    })?;
    let mut entries = Vec::new();
    flatten("", table.get_ref(), text, &mut entries);
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

/// The parser limits how deep tables can be nested.
fn flatten(prefix: &str, table: &DeTable<'_>, text: &str, entries: &mut Vec<Entry>) {
    for (name, value) in table {
        let path = if prefix.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{prefix}.{}", name.get_ref())
        };
        let value = match value.get_ref() {
            DeValue::Table(table) if !table.is_empty() => {
                flatten(&path, table, text, entries);
                continue;
            }
            DeValue::Table(_)
                if super::keys::KEYS
                    .iter()
                    .any(|key| key.path.starts_with(&format!("{path}."))) =>
            {
                continue;
            }
            DeValue::String(value) => Some(value.to_string()),
            DeValue::Integer(value) => i128::from_str_radix(&value.as_str().replace('_', ""), value.radix())
                .ok()
                .map(|value| value.to_string()),
            DeValue::Float(value) => Some(value.as_str().replace('_', "")),
            DeValue::Boolean(value) => Some(value.to_string()),
            DeValue::Datetime(value) => Some(value.to_string()),
            DeValue::Array(_) | DeValue::Table(_) => None,
        };
        let line = line_of(text, name.span().start);
        entries.push(Entry { path, value, line });
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}
