//! Loads programs: each once, however many ask for it at the same time.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use vulcan_api::{Code, WorkloadError};
use vulcan_backend::BackendError;
use wasmtime::{Engine, Module, component::Component};

use crate::{Options, files::Package};

use super::{
    artifact::{Artifact, Linkers},
    check::check,
    lru::Lru,
    source::{binary, failed},
    store::{Digest, Store},
    threads::{Late, Threads},
};

/// Longer code is hashed where nobody waits for the thread.
const HASHED_HERE_BYTES_MAX: usize = 256 * 1024;
/// How a component begins behind its magic: version 0x0d, layer 1.
const COMPONENT: &[u8] = &[0x0d, 0x00, 0x01, 0x00];
/// What a linked module takes beside its code, about.
const OVERHEAD_BYTES: u64 = 64 * 1024;

/// Why something was not loaded.
#[derive(Debug, Clone)]
pub(crate) enum LoadError {
    /// The program is at fault.
    Program(WorkloadError),
    /// The compilers are busy with other programs.
    Busy,
    /// The platform is at fault.
    Broken(String),
}

impl From<LoadError> for Result<WorkloadError, BackendError> {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Program(error) => Ok(error),
            LoadError::Busy => Err(BackendError::Exhausted {
                what: "threads that compile WebAssembly",
                source: None,
            }),
            LoadError::Broken(reason) => Err(BackendError::Lost { reason }),
        }
    }
}

type Loaded = Result<Arc<Artifact>, LoadError>;

/// Loads programs.
pub(crate) struct Loader {
    engine: Engine,
    linkers: Linkers,
    options: Options,
    store: OnceLock<Option<Store>>,
    threads: Threads,
    kept: Mutex<Kept>,
}

struct Kept {
    ready: Lru<Digest, Artifact>,
    /// What is being loaded now.
    coming: HashMap<Digest, watch::Receiver<Option<Loaded>>>,
}

/// What somebody who wants a program does next.
enum Next {
    Take(Arc<Artifact>),
    WaitFor(watch::Receiver<Option<Loaded>>),
    Load(watch::Sender<Option<Loaded>>, watch::Receiver<Option<Loaded>>),
}

impl Loader {
    pub(crate) fn new(engine: Engine, mut options: Options) -> wasmtime::Result<Self> {
        // Who waits longer lets more through.
        options.module_limits.effort = options.module_limits.effort.max(options.compile_deadline);
        Ok(Self {
            linkers: Linkers::new(&engine)?,
            store: OnceLock::new(),
            threads: Threads::new(options.compile_threads, options.compile_deadline),
            kept: Mutex::new(Kept {
                ready: Lru::new(options.cache_memory_bytes_max),
                coming: HashMap::new(),
            }),
            engine,
            options,
        })
    }

    /// Returns a program that can be run.
    ///
    /// Loading goes on when the caller goes away, for whoever comes next. Needs a tokio runtime around it.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub(crate) async fn load(self: &Arc<Self>, code: &Code) -> Loaded {
        let key = digest_of(code).await;
        let mut coming = match self.next(&key) {
            Next::Take(artifact) => return Ok(artifact),
            Next::WaitFor(coming) => coming,
            Next::Load(tell, coming) => {
                let (loader, code) = (Arc::clone(self), code.clone());
                tokio::spawn(async move {
                    let loaded = loader.make(&code).await;
                    loader.finish(&key, &loaded);
                    let _ = tell.send(Some(loaded));
                });
                coming
            }
        };
        match coming.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(loaded)) => loaded.clone(),
            Ok(None) | Err(_) => {
                self.lock().coming.remove(&key);
                Err(LoadError::Broken("loading came to a sudden end".to_owned()))
            }
        }
    }

    fn next(&self, key: &Digest) -> Next {
        let mut kept = self.lock();
        if let Some(artifact) = kept.ready.get(key) {
            return Next::Take(artifact);
        }
        if let Some(coming) = kept.coming.get(key) {
            return Next::WaitFor(coming.clone());
        }
        let (tell, coming) = watch::channel(None);
        kept.coming.insert(*key, coming.clone());
        Next::Load(tell, coming)
    }

    fn finish(&self, key: &Digest, loaded: &Loaded) {
        let mut kept = self.lock();
        kept.coming.remove(key);
        if let Ok(artifact) = loaded {
            kept.ready.put(*key, Arc::clone(artifact), artifact.bytes);
        }
    }

    async fn make(self: &Arc<Self>, code: &Code) -> Loaded {
        let (loader, code) = (Arc::clone(self), code.clone());
        let deadline = self.options.compile_deadline;
        match self.threads.run(move || loader.make_now(&code)).await {
            Ok(made) => made.map(Arc::new).map_err(LoadError::Program),
            Err(Late::Busy) => Err(LoadError::Busy),
            Err(Late::Unfinished) => Err(LoadError::Program(failed(format!(
                "compiling took longer than {deadline:?}"
            )))),
            Err(Late::Broken(error)) => Err(LoadError::Broken(error.to_string())),
        }
    }

    /// Does all of it, in the thread that calls.
    fn make_now(&self, code: &Code) -> Result<Artifact, WorkloadError> {
        let (name, package) = (code.entrypoint(), self.unpacked(code)?);
        let sent = match &package {
            None => code.bytes(),
            Some(package) => package
                .file(name)
                .ok_or_else(|| failed(format!("the archive has no file '{name}' (the entrypoint)")))?,
        };
        let limits = &self.options.module_limits;
        if sent.len() > limits.bytes {
            return Err(failed(format!(
                "{name} has {} bytes; the most is {}",
                sent.len(),
                limits.bytes
            )));
        }
        let binary = binary(name, sent)?;
        check(&binary, limits).map_err(|problem| failed(format!("{name} is refused: {problem}")))?;
        let is_component = binary.get(4..8) == Some(COMPONENT);
        let (entry, code_bytes) = if is_component {
            let component = self.component(name, &binary)?;
            (
                self.linkers.component(name, &component)?,
                image_len(&component.image_range()),
            )
        } else {
            let module = self.module(name, &binary)?;
            (
                self.linkers.module(name, &module)?,
                image_len(&module.image_range()),
            )
        };
        let package_bytes = package.as_ref().map_or(0, Package::len_bytes);
        Ok(Artifact {
            entry,
            bytes: code_bytes + package_bytes + OVERHEAD_BYTES,
            package,
        })
    }

    fn unpacked(&self, code: &Code) -> Result<Option<Package>, WorkloadError> {
        match code {
            Code::File { .. } | Code::Image(_) => Ok(None),
            Code::Archive { bytes, .. } => Package::unpack(bytes, self.options.package_bytes_max)
                .map(Some)
                .map_err(|error| failed(error.to_string())),
        }
    }

    fn module(&self, name: &str, binary: &[u8]) -> Result<Module, WorkloadError> {
        let digest = Sha256::digest(binary).into();
        if let Some(artefact) = self.store().and_then(|store| store.get(&digest)) {
            if let Some(module) = self.known_module(&artefact) {
                return Ok(module);
            }
            self.forget(&digest);
        }
        let module = Module::from_binary(&self.engine, binary)
            .map_err(|error| failed(format!("{name} does not compile: {error:#}")))?;
        self.keep(&digest, module.serialize());
        Ok(module)
    }

    fn component(&self, name: &str, binary: &[u8]) -> Result<Component, WorkloadError> {
        let digest = Sha256::digest(binary).into();
        if let Some(artefact) = self.store().and_then(|store| store.get(&digest)) {
            if let Some(component) = self.known_component(&artefact) {
                return Ok(component);
            }
            self.forget(&digest);
        }
        let component = Component::from_binary(&self.engine, binary)
            .map_err(|error| failed(format!("{name} does not compile: {error:#}")))?;
        self.keep(&digest, component.serialize());
        Ok(component)
    }

    #[expect(unsafe_code, reason = "artefacts are native code")]
    fn known_module(&self, artefact: &[u8]) -> Option<Module> {
        // SAFETY: the bytes are an artefact of Wasmtime, unchanged: `Store::get` returns only what carries an HMAC under a
        // key that was made by this server and never left a folder of mode 0700, and `Store::put` signs nothing but the
        // result of `Module::serialize` and `Component::serialize`. The bytes were read into memory of ours before they
        // were verified, so that nobody can change them now. Version and configuration are checked by Wasmtime itself, as
        // is whether they are a module's or a component's.
        unsafe { Module::deserialize(&self.engine, artefact) }.ok()
    }

    #[expect(unsafe_code, reason = "artefacts are native code")]
    fn known_component(&self, artefact: &[u8]) -> Option<Component> {
        // SAFETY: as for `known_module`.
        unsafe { Component::deserialize(&self.engine, artefact) }.ok()
    }

    fn forget(&self, digest: &Digest) {
        if let Some(store) = self.store() {
            store.remove(digest);
        }
    }

    fn keep(&self, digest: &Digest, artefact: wasmtime::Result<Vec<u8>>) {
        if let (Some(store), Ok(artefact)) = (self.store(), artefact) {
            store.put(digest, &artefact);
        }
    }

    /// Opens the folder at its first use; without one, modules are compiled once per run of the server.
    fn store(&self) -> Option<&Store> {
        let open = || {
            let folder: &PathBuf = self.options.cache_dir.as_ref()?;
            Store::open(folder, self.options.cache_disk_bytes_max, &self.engine)
                .inspect_err(|error| {
                    tracing::warn!(path = %folder.display(), error = %error, "compiled modules are not kept");
                })
                .ok()
        };
        self.store.get_or_init(open).as_ref()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Every change is a single insertion or removal.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn image_len(range: &std::ops::Range<*const u8>) -> u64 {
    (range.end as usize - range.start as usize) as u64
}

async fn digest_of(code: &Code) -> Digest {
    if code.bytes().len() <= HASHED_HERE_BYTES_MAX {
        return digest_now(code);
    }
    let owned = code.clone();
    match tokio::task::spawn_blocking(move || digest_now(&owned)).await {
        Ok(digest) => digest,
        // Only when the runtime shuts down.
        Err(_) => digest_now(code),
    }
}

fn digest_now(code: &Code) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update([matches!(code, Code::Archive { .. }).into()]);
    hasher.update(code.entrypoint());
    hasher.update([0]);
    hasher.update(code.bytes());
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::task::JoinSet;

    use super::*;
    use crate::engine::engine;

    fn loader() -> Arc<Loader> {
        let options = Options {
            slots_max: 1,
            ..Options::new(None)
        };
        Arc::new(Loader::new(engine(&options).unwrap(), options).unwrap())
    }

    fn code(text: &'static str) -> Code {
        Code::File {
            name: "main.wat".to_owned(),
            bytes: Bytes::from_static(text.as_bytes()),
        }
    }

    #[tokio::test]
    async fn however_many_ask_at_once_a_module_is_compiled_once() {
        let loader = loader();
        let mut loads = JoinSet::new();
        for _ in 0..16 {
            let loader = Arc::clone(&loader);
            loads.spawn(async move { loader.load(&code("(module (func (export \"_start\")))")).await });
        }

        let artifacts: Vec<_> = loads.join_all().await.into_iter().map(Result::unwrap).collect();

        assert!(
            artifacts
                .iter()
                .all(|artifact| Arc::ptr_eq(artifact, &artifacts[0]))
        );
        let again = loader
            .load(&code("(module (func (export \"_start\")))"))
            .await
            .unwrap();
        assert!(Arc::ptr_eq(&again, &artifacts[0]));
    }

    #[tokio::test]
    async fn loading_goes_on_for_whoever_comes_next() {
        let loader = loader();
        let text = "(module (func (export \"_start\")))";
        {
            let code = code(text);
            let mut given_up = Box::pin(loader.load(&code));
            assert!(polled_once(given_up.as_mut()).await.is_none());
        }

        let coming = loader.lock().coming.len();
        let loaded = loader.load(&code(text)).await;

        assert_eq!(coming, 1);
        assert!(loaded.is_ok());
        assert!(loader.lock().coming.is_empty());
    }

    #[tokio::test]
    async fn what_failed_is_tried_again() {
        let loader = loader();
        for _ in 0..2 {
            let failed = loader.load(&code("(module (func i32.nonsense))")).await;
            assert!(matches!(failed, Err(LoadError::Program(_))));
        }
        assert!(loader.lock().coming.is_empty());
    }

    async fn polled_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match future.as_mut().poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
