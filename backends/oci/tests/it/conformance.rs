//! The definition of a backend, rule by rule, on a root with Python.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use vulcan_api::Program;
use vulcan_backend::{
    Backend, ExecRequest, Root,
    conformance::{Act, Broken, Harness, Inapplicable, python},
};
use vulcan_backend_oci::{ContainerRuntime, Options};

use crate::harness::{Class, backend, leftovers, mounts, options, python_root};

/// One backend, and how the host looked before.
pub(crate) struct OciHarness {
    class: Class,
    options: Options,
    mounts_before: BTreeSet<String>,
}

impl OciHarness {
    pub(crate) fn new(class: Class) -> Self {
        Self {
            class,
            options: options(),
            mounts_before: mounts(),
        }
    }
}

/// What gVisor's own kernel, which lives in the instance, does otherwise. Nothing of it reaches the host's.
const GVISOR: &[Inapplicable] = &[
    Inapplicable {
        rule: "no_descriptor_of_the_host_is_left_open",
        reason: "its /proc lists the agent's descriptors for everybody; but for /dev/null none can be opened",
    },
    Inapplicable {
        rule: "the_agent_cannot_be_traced",
        reason: "its /proc shows the agent's memory map, auxiliary vector and descriptors; its memory stays closed",
    },
    Inapplicable {
        rule: "the_agents_environment_is_out_of_reach",
        reason: "its /proc shows the agent's environment, which is HOME=/root and nothing else",
    },
    Inapplicable {
        rule: "others_cannot_be_made_to_die_first",
        reason: "it takes any score and does nothing with it; on the host its whole kernel has one",
    },
    Inapplicable {
        rule: "limits_cannot_be_raised",
        reason: "it takes any nice value and does nothing with it",
    },
    Inapplicable {
        rule: "the_set_up_of_the_host_is_hidden",
        reason: "it has a /proc/cmdline of its own invention",
    },
    Inapplicable {
        rule: "set_uid_programs_give_nothing",
        reason: "it does not say that no_new_privs is set; a set-uid program gives nothing there either",
    },
    Inapplicable {
        rule: "the_number_of_processes_is_limited",
        reason: "it counts no processes: the host's limit on its threads ends the instance instead",
    },
    Inapplicable {
        rule: "the_number_of_threads_is_limited",
        reason: "it counts no threads: the host's limit on its threads ends the instance instead",
    },
];

const GVISOR_LACKS: &[Inapplicable] = &[Inapplicable {
    rule: "zombies_are_limited_and_do_not_stay",
    reason: "it counts no zombies: they take its memory, which is limited, until the program is stopped",
}];

#[async_trait]
impl Harness for OciHarness {
    async fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(backend(self.class, self.options.clone()))
    }

    fn root(&self) -> Option<Arc<Root>> {
        Some(python_root())
    }

    fn program(&self, act: &Act) -> Option<Program> {
        let is_endless = self.class == Class::Gvisor && *act == Act::Zombies;
        (!is_endless).then(|| python::program(act))
    }

    fn inapplicable(&self) -> &[Inapplicable] {
        match self.class {
            Class::Container => &[],
            Class::Gvisor => GVISOR_LACKS,
        }
    }

    fn command(&self, act: &Act) -> Option<ExecRequest> {
        python::command("/usr/bin/python3", act)
    }

    fn otherwise(&self) -> &[Inapplicable] {
        match self.class {
            Class::Container => &[],
            Class::Gvisor => GVISOR,
        }
    }

    async fn broken(&self) -> Vec<Broken> {
        let broken = |what: &str, options: Options| Broken {
            what: what.to_owned(),
            backend: Arc::new(backend(
                self.class,
                Options {
                    owner: format!("{}-{}", self.options.owner, what.replace(' ', "-")),
                    ..options
                },
            )) as Arc<dyn Backend>,
        };
        let with_runtime = |path: &str| Options {
            runtime: ContainerRuntime::Crun,
            crun: path.into(),
            runsc: path.into(),
            ..self.options.clone()
        };
        vec![
            broken(
                "there are no slots",
                Options {
                    slots_max: 0,
                    ..self.options.clone()
                },
            ),
            broken("the runtime is not there", with_runtime("/nowhere/runtime")),
            broken("the runtime fails", with_runtime("/usr/bin/false")),
            broken("the runtime starts nothing", with_runtime("/usr/bin/true")),
            broken(
                "the agent may not open its files",
                Options {
                    open_files_max: 1,
                    ..self.options.clone()
                },
            ),
            broken(
                "the user ids cannot be mapped",
                Options {
                    outer_id_first: Some(u32::MAX),
                    ..self.options.clone()
                },
            ),
        ]
    }

    async fn leftovers(&self) -> Vec<String> {
        let now = mounts();
        let mounts = now.difference(&self.mounts_before);
        let mounts = mounts.map(|mount| format!("mount {mount}")).collect();
        [leftovers(&self.options), mounts].concat()
    }
}

mod container {
    vulcan_backend::conformance_suite!(super::OciHarness::new(crate::harness::Class::Container));
}

mod gvisor {
    vulcan_backend::conformance_suite!(super::OciHarness::new(crate::harness::Class::Gvisor));
}
