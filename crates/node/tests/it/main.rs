//! A node on a local bus with the simulator behind it, driven from the control plane's side.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod capacity;
mod compile;
mod ends;
mod harness;
mod images;
mod images_build;
mod logs;
mod pools;
mod recovery;
mod shutdown;
mod speed;
