//! What the platform does on behalf of a caller: validate, resolve, submit, look up, stop.
//!
//! Refuses to know HTTP: requests come as plain values, refusals go as [`Refused`].

pub(crate) mod archive;
mod cursor;
mod fields;
mod image_rules;
mod images;
mod isolation;
mod logs;
mod overview;
mod parse;
mod prepare;
mod refused;
mod submit;
mod uploads;
mod workloads;

pub(crate) use fields::relative_path;
pub(crate) use images::{Exporting, Making};
pub(crate) use logs::{LogItem, LogQuery, position as log_position};
pub(crate) use refused::Refused;
pub(crate) use submit::Request;
pub(crate) use uploads::Upload;
pub(crate) use workloads::ListQuery;
