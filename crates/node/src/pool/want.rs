//! Which instance a workload may have: a pure decision.

use vulcan_api::{Reuse, Runtime};
use vulcan_backend::{Capabilities, InvokeMode, Readying};

/// Which instance a workload may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// One that is started for it.
    Cold,
    /// A blank one that is burned, prepared for this runtime.
    Blank(Runtime),
    /// One that has loaded its code, to be called in this mode; or else a blank one that will load it.
    Loaded {
        mode: InvokeMode,
        blank: Option<Runtime>,
    },
}

impl Want {
    /// Returns what a workload may have. What was promised with a reuse is never weakened: where a backend cannot fork, or
    /// keep a handler, the workload gets a fresh instance.
    pub(crate) fn of(capabilities: &Capabilities, runtime: Runtime, reuse: Reuse) -> Self {
        let Some(readying) = capabilities.readying(runtime) else {
            return Self::Cold;
        };
        let fresh = || readying.blank.map_or(Self::Cold, Self::Blank);
        let loaded = |mode| Self::Loaded {
            mode,
            blank: readying.blank,
        };
        match (reuse, readying) {
            (Reuse::Cold, _) => Self::Cold,
            (Reuse::Warm, Readying { warm: true, .. }) => loaded(InvokeMode::Warm),
            (Reuse::Forked, Readying { forked: true, .. }) => loaded(InvokeMode::Forked),
            (Reuse::None | Reuse::Warm | Reuse::Forked, _) => fresh(),
        }
    }
}

#[cfg(test)]
mod tests {
    use vulcan_api::IsolationClass;

    use super::*;

    fn capabilities(blank: Option<Runtime>, warm: bool, forked: bool) -> Capabilities {
        Capabilities {
            isolation: IsolationClass::Isolate,
            abilities: Vec::new(),
            readying: vec![Readying {
                runtime: Runtime::Typescript,
                blank,
                warm,
                forked,
            }],
            root: vulcan_backend::RootForm::Own,
            outlives_server: false,
        }
    }

    #[test]
    fn a_promise_is_kept_or_exceeded_and_never_weakened() {
        let of = |capabilities: &Capabilities, reuse| Want::of(capabilities, Runtime::Typescript, reuse);
        let blank = Some(Runtime::Node);
        let all = capabilities(blank, true, true);
        assert_eq!(of(&all, Reuse::None), Want::Blank(Runtime::Node));
        assert_eq!(of(&all, Reuse::Cold), Want::Cold);
        let loaded = |mode| Want::Loaded { mode, blank };
        assert_eq!(of(&all, Reuse::Warm), loaded(InvokeMode::Warm));
        assert_eq!(of(&all, Reuse::Forked), loaded(InvokeMode::Forked));

        let warm_only = capabilities(None, true, false);
        assert_eq!(of(&warm_only, Reuse::Forked), Want::Cold);
        let blank_only = capabilities(blank, false, false);
        assert_eq!(of(&blank_only, Reuse::Warm), Want::Blank(Runtime::Node));
        assert_eq!(Want::of(&all, Runtime::Bash, Reuse::Warm), Want::Cold);
    }
}
