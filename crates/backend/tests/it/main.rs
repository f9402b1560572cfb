//! What the crate promises, from outside.

mod conformance;
mod guest;
mod pages;
mod simulator;
