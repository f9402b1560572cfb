//! Images as one file: OCI layouts and what `docker save` writes, in both directions.
//!
//! What comes out of a file is believed as little as what comes from a registry: the same digests, the same limits.

mod export;
mod files;
mod import;
