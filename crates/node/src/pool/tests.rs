//! Tests of the pools as a whole.
