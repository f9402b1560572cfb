//! `vulcan benchmark`: measures every class, and shows, lists and compares what was measured.

mod args;
mod begin;
mod chart;
mod compare;
mod escape;
mod html;
mod list;
mod numbers;
mod rows;
mod show;
mod source;
mod tables;

pub(crate) use args::BenchmarkArgs;
pub(super) use begin::run;
