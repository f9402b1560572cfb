//! The store from inside of the crate.

mod layers;
mod unpack;
