//! Writing for people: what is a terminal, what may be coloured, tables, the spinner, and making foreign text harmless.

mod bar;
mod output;
mod sanitize;
mod spinner;
mod table;

pub(crate) use bar::Bar;
pub(crate) use output::{Paint, Terminal};
pub(crate) use sanitize::{sanitized, sanitized_text};
pub(crate) use spinner::Spinner;
pub(crate) use table::{Table, fields};
