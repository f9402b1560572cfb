//! What a backend's own tests give to the suite.

use std::sync::Arc;

use async_trait::async_trait;
use vulcan_api::Program;

use crate::{Backend, ExecRequest, Root};

use super::Act;

/// A rule that a class cannot be held to, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inapplicable {
    /// The rule's name, as in [`super::RULES`].
    pub rule: &'static str,
    /// Why, in words for the reader of the tests.
    pub reason: &'static str,
}

/// A backend on a host where every start must fail.
pub struct Broken {
    /// What is broken: "the agent's binary is missing".
    pub what: String,
    /// The backend.
    pub backend: Arc<dyn Backend>,
}

/// Brings one backend before the suite. One harness serves one rule.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// Returns a backend with a state of its own; called once.
    async fn backend(&self) -> Arc<dyn Backend>;

    /// Returns the root filesystem that instances start on, for classes that need one.
    fn root(&self) -> Option<Arc<Root>> {
        None
    }

    /// Returns the program that performs an act, or `None` where the class has no way to express it.
    ///
    /// Every rule that needs an inexpressible act must be named by [`Harness::inapplicable`]: nothing is passed over silently.
    fn program(&self, act: &Act) -> Option<Program>;

    /// Returns the command that performs an act, for classes with the ability to run commands.
    fn command(&self, act: &Act) -> Option<ExecRequest> {
        let _ = act;
        None
    }

    /// Returns the rules that the class cannot be held to. A rule that is named here and could be held is a failure too.
    fn inapplicable(&self) -> &[Inapplicable] {
        &[]
    }

    /// Returns the rules that the class breaks by its nature, and why that harms nobody; the host must be as it was after them
    /// too. A rule that is named here and holds is a failure.
    fn otherwise(&self) -> &[Inapplicable] {
        &[]
    }

    /// Returns backends whose every start fails, each at another step; what they leave counts for [`Harness::leftovers`].
    async fn broken(&self) -> Vec<Broken> {
        Vec::new()
    }

    /// Returns whatever of this harness' instances is left on the host: processes, cgroups, mounts, namespaces, files.
    ///
    /// What the backend holds without an instance (a pool, say) does not count until [`Backend::close`] has returned.
    async fn leftovers(&self) -> Vec<String>;
}
