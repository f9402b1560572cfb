//! A compiled module or component that is linked with what the host offers, ready to be instantiated.

use std::collections::BTreeSet;

use vulcan_api::{ErrorCode, WorkloadError};
use wasmtime::{
    Engine, ExternType, InstancePre, Linker, Module, ValType,
    component::{self, Component},
};
use wasmtime_wasi::p2::bindings::CommandPre;

use crate::{
    component::ComponentState,
    files::Package,
    wasi::{OFFERED, State, offer},
};

use super::source::failed;

/// The interface by which components answer HTTP requests.
const HTTP_HANDLER: &str = "wasi:http/incoming-handler";
/// The interface by which components run.
const RUN: &str = "wasi:cli/run";
/// How many missing imports are named.
const NAMED_MAX: usize = 10;

/// How an artifact is run.
pub(crate) enum Entry {
    /// A WASI command: `_start`.
    Command(InstancePre<State>),
    /// A module with a handler over its memory.
    Handler(InstancePre<State>),
    /// A component that is a command.
    Component(Box<CommandPre<ComponentState>>),
}

/// Something that can be run, and the files that came with it.
pub(crate) struct Artifact {
    pub(crate) entry: Entry,
    pub(crate) package: Option<Package>,
    /// What it takes of the host's memory, about.
    pub(super) bytes: u64,
}

/// What modules and components may import.
pub(crate) struct Linkers {
    modules: Linker<State>,
    components: component::Linker<ComponentState>,
}

impl Linkers {
    pub(crate) fn new(engine: &Engine) -> wasmtime::Result<Self> {
        let mut modules = Linker::new(engine);
        offer(&mut modules)?;
        let mut components = component::Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut components)?;
        Ok(Self { modules, components })
    }

    /// Links a module by its imports and exports.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::Exception`], with the names of what is missing.
    pub(super) fn module(&self, name: &str, module: &Module) -> Result<Entry, WorkloadError> {
        check_imports(name, module)?;
        let is_command = is_command(name, module)?;
        let linked = self.modules.instantiate_pre(module).map_err(|error| {
            invalid(format!(
                "{name} imports something in another form than it is offered: {error:#}"
            ))
        })?;
        Ok(if is_command {
            Entry::Command(linked)
        } else {
            Entry::Handler(linked)
        })
    }

    /// Links a component.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::Exception`], with what is missing.
    pub(super) fn component(&self, name: &str, component: &Component) -> Result<Entry, WorkloadError> {
        let exports: Vec<String> = component
            .component_type()
            .exports(component.engine())
            .map(|(name, _)| name.to_owned())
            .collect();
        let has = |interface: &str| exports.iter().any(|export| export.starts_with(interface));
        if !has(RUN) && has(HTTP_HANDLER) {
            return Err(invalid(format!(
                "{name} is a component that answers HTTP requests ({HTTP_HANDLER}): a workload has no request to give; \
                 it needs functions, which route HTTP, or an export of {RUN}"
            )));
        }
        if !has(RUN) {
            return Err(invalid(format!(
                "{name} is a component without an entry: it exports {}, and {RUN} is needed",
                listed(&exports)
            )));
        }
        let linked = self
            .components
            .instantiate_pre(component)
            .map_err(|error| invalid(format!("{name} imports what is not offered: {error:#}")))?;
        let command = CommandPre::new(linked)
            .map_err(|error| invalid(format!("{name} exports {RUN} in another form: {error:#}")))?;
        Ok(Entry::Component(Box::new(command)))
    }
}

fn check_imports(name: &str, module: &Module) -> Result<(), WorkloadError> {
    let missing: BTreeSet<String> = module
        .imports()
        .filter(|import| !OFFERED.contains(&(import.module(), import.name())))
        .map(|import| format!("{}.{}", import.module(), import.name()))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<String> = missing.into_iter().collect();
    Err(invalid(format!(
        "{name} imports what is not offered: {}; there are WASI preview 1 (wasi_snapshot_preview1.*), vulcan.log and \
         vulcan.fail",
        listed(&missing)
    )))
}

/// Returns whether a module is a command, and an error where it is no handler either.
fn is_command(name: &str, module: &Module) -> Result<bool, WorkloadError> {
    if let Some(ExternType::Func(start)) = module.get_export("_start") {
        return if start.params().len() == 0 && start.results().len() == 0 {
            Ok(true)
        } else {
            Err(invalid(format!(
                "{name} exports _start as {start}; it takes and returns nothing"
            )))
        };
    }
    if module.get_export("handler").is_none() {
        let exports: Vec<String> = module.exports().map(|export| export.name().to_owned()).collect();
        return Err(invalid(format!(
            "{name} has no entry: it exports {}, and either _start (a WASI command) or handler, alloc and memory (see \
             docs/wasm.md) are needed",
            listed(&exports)
        )));
    }
    let is_function = |export: &str, params: &[ValType], result: &ValType| match module.get_export(export) {
        Some(ExternType::Func(found)) => {
            let (given, returned): (Vec<_>, Vec<_>) = (found.params().collect(), found.results().collect());
            same(&given, params) && same(&returned, std::slice::from_ref(result))
        }
        _ => false,
    };
    let wrong = if !is_function("handler", &[ValType::I32, ValType::I32], &ValType::I64) {
        "handler must be a function (i32, i32) -> i64"
    } else if !is_function("alloc", &[ValType::I32], &ValType::I32) {
        "alloc must be there as a function (i32) -> i32"
    } else if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
        "memory must be there as a linear memory"
    } else {
        return Ok(false);
    };
    Err(invalid(format!(
        "{name} exports a handler in another form: {wrong} (see docs/wasm.md)"
    )))
}

fn same(given: &[ValType], wanted: &[ValType]) -> bool {
    given.len() == wanted.len()
        && given
            .iter()
            .zip(wanted)
            .all(|(given, wanted)| ValType::eq(given, wanted))
}

fn listed(names: &[String]) -> String {
    match names.len() {
        0 => "nothing".to_owned(),
        count if count > NAMED_MAX => {
            format!("{} and {} more", names[..NAMED_MAX].join(", "), count - NAMED_MAX)
        }
        _ => names.join(", "),
    }
}

/// What is well formed and cannot be run.
fn invalid(message: String) -> WorkloadError {
    WorkloadError {
        code: ErrorCode::Exception,
        ..failed(message)
    }
}
