//! The targets of single classes: starts from pools, warm calls, calls per second, memory; each beside its bare floor.

mod blank;
mod bundle;
mod crowd;
mod floor;
mod images;
mod lean;
mod memory;
mod rate;
mod report;
mod run;
mod scrape;
mod targets;

pub(crate) use report::print;
pub(crate) use run::{Classes, measure};
