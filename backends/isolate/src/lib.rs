//! The `isolate` class.
