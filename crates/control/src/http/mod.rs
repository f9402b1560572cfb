//! The HTTP side: one file per operation, and what all of them share.
//!
//! Owns media types, headers, parameters and the shape of refusals. Refuses to know what a workload is made of: that is the
//! `app` room's.

mod backend_list;
mod benchmark_begin;
mod benchmark_cancel;
mod benchmark_get;
mod benchmark_list;
mod body;
mod docs_page;
mod health;
mod image_bootstrap;
mod image_build;
mod image_events;
mod image_export;
mod image_get;
mod image_import;
mod image_list;
mod image_prune;
mod image_pull;
mod image_remove;
mod image_upload;
mod metrics_text;
mod node_get;
mod node_list;
mod object;
mod openapi;
mod parameters;
mod problem_page;
mod refusal;
mod request;
mod routes;
mod server;
mod stats_get;
mod workload_get;
mod workload_kill;
mod workload_list;
mod workload_logs;
mod workload_run;
mod workload_submit;

pub use openapi::openapi_json;
pub use routes::router;
pub use server::serve;
