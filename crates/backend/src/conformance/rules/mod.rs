//! The rules, by subject. Each is one async function whose name is its claim.

pub mod attacks;
pub mod commands;
pub mod disk;
pub mod exits;
pub mod forgeries;
pub mod lifecycle;
pub mod memory;
pub mod modes;
pub mod outputs;
pub mod processes;
pub mod reuse;
pub mod surroundings;
pub mod transfers;
pub mod usages;
