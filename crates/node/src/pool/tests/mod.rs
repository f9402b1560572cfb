//! The pools as a whole, over the simulator, with a clock that stands still until it is moved.

mod bench;
mod blank;
mod warm;
