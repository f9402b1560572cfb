//! `xtask tidy`: the house rules, checked over a tree that is read once.
//!
//! Each rule is a function from the tree to findings, and is tested with a bad example. Nothing here touches the disk but
//! [`tree`].

mod docs;
mod edges;
mod exempt;
mod finding;
mod functions;
mod manifests;
mod modules;
mod run;
mod source;
mod text;
mod tokens;
mod tree;

pub(crate) use run::run;
