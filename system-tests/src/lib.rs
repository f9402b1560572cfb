//! The whole platform in one process, driven from outside as its users do. See `tests/it/`.
