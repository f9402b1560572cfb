//! What makes two calls ones of the same loaded code and the same owner: a digest over everything that counts.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use vulcan_api::{Code, IsolationClass, Network, Program};
use vulcan_backend::InvokeMode;

use super::kind::{RootId, Size};

/// Code up to this size is hashed where it is: 64 KiB take 40 to 160 µs, a typical handler one or two.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Code from this size on is looked up in the memory of digests first.
const REMEMBERED_BYTES_MIN: usize = 8 * 1024;
/// How many digests are remembered.
const REMEMBERED_LEN_MAX: usize = 32;
/// How much code is kept alive by remembering its digest.
const REMEMBERED_BYTES_MAX: usize = 32 << 20;

/// Identifies loaded code together with its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct WarmKey([u8; 32]);

/// Everything beside the program that tells loaded code apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    pub(crate) owner: &'a str,
    pub(crate) isolation: IsolationClass,
    pub(crate) size: Size,
    pub(crate) network: Network,
    pub(crate) mode: InvokeMode,
    /// What it stands on, for classes that stand on an image.
    pub(crate) root: Option<RootId>,
}

/// Digests of code that was seen lately.
///
/// A [`Bytes`] cannot change while another one shares its memory, and its memory cannot be given to another while it is
/// kept: the same place and length mean the same content. Functions hand the same `Bytes` over with every call.
#[derive(Debug, Default)]
pub(crate) struct Digests(Mutex<VecDeque<(Bytes, [u8; 32])>>);

impl Digests {
    /// Returns the key of a program's code. Large code that was not seen lately is hashed on another thread.
    pub(crate) async fn key(&self, circumstances: Circumstances<'_>, program: &Program) -> WarmKey {
        let code = program.code.bytes();
        let digest = match self.recall(code) {
            Some(digest) => digest,
            None if code.len() <= INLINE_BYTES_MAX => self.remember(code, Sha256::digest(code).into()),
            None => {
                let copy = code.clone();
                let digest = tokio::task::spawn_blocking(move || Sha256::digest(&copy).into()).await;
                // It is only ever cancelled when the runtime ends.
                self.remember(code, digest.unwrap_or_else(|_| Sha256::digest(code).into()))
            }
        };
        key(circumstances, program, &digest)
    }

    fn recall(&self, code: &Bytes) -> Option<[u8; 32]> {
        if code.len() < REMEMBERED_BYTES_MIN {
            return None;
        }
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = seen
            .iter()
            .position(|(other, _)| other.as_ptr() == code.as_ptr() && other.len() == code.len())?;
        let entry = seen.remove(at)?;
        let digest = entry.1;
        seen.push_front(entry);
        Some(digest)
    }

    fn remember(&self, code: &Bytes, digest: [u8; 32]) -> [u8; 32] {
        if (REMEMBERED_BYTES_MIN..=REMEMBERED_BYTES_MAX).contains(&code.len()) {
            let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push_front((code.clone(), digest));
            let bytes = |seen: &VecDeque<(Bytes, _)>| seen.iter().map(|(code, _)| code.len()).sum::<usize>();
            while seen.len() > REMEMBERED_LEN_MAX || bytes(&seen) > REMEMBERED_BYTES_MAX {
                seen.pop_back();
            }
        }
        digest
    }

    /// Lets go of all code that is kept alive.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Hashes every field with its length before it, so that no two lists of fields look alike.
fn key(circumstances: Circumstances<'_>, program: &Program, code: &[u8; 32]) -> WarmKey {
    let mut hasher = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    field(circumstances.owner.as_bytes());
    field(circumstances.isolation.as_str().as_bytes());
    field(&circumstances.size.bytes());
    field(match circumstances.network {
        Network::None => b"none",
        Network::Egress => b"egress",
    });
    field(match circumstances.mode {
        InvokeMode::Once => b"once",
        InvokeMode::Beside => b"beside",
        InvokeMode::Warm => b"warm",
        InvokeMode::Forked => b"forked",
    });
    field(program.runtime.as_str().as_bytes());
    field(match program.code {
        Code::File { .. } => b"file",
        Code::Archive { .. } => b"archive",
        Code::Image(_) => b"image",
    });
    field(circumstances.root.as_ref().map_or(&[], |root| root.bytes()));
    field(program.code.entrypoint().as_bytes());
    field(code);
    field(&(program.args.len() as u64).to_le_bytes());
    for argument in &program.args {
        field(argument.as_bytes());
    }
    for (name, value) in &program.env {
        field(name.as_bytes());
        field(value.as_bytes());
    }
    WarmKey(hasher.finalize().into())
}

#[cfg(test)]
impl WarmKey {
    /// Makes the key of some code of some owner.
    pub(super) fn for_test(owner: &str, code: u8) -> Self {
        Self(Sha256::digest([owner.as_bytes(), &[0, code]].concat()).into())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, iter};

    use proptest::prelude::*;
    use vulcan_api::{Resources, Runtime};

    use super::*;

    fn program(text: &str) -> Program {
        Program {
            image: None,
            runtime: Runtime::Node,
            code: Code::File {
                name: "main.js".to_owned(),
                bytes: Bytes::copy_from_slice(text.as_bytes()),
            },
            input: Bytes::from_static(b"null"),
            args: Vec::new(),
            env: [("K".to_owned(), "v".to_owned())].into(),
        }
    }

    fn circumstances(owner: &str) -> Circumstances<'_> {
        Circumstances {
            owner,
            isolation: IsolationClass::Isolate,
            size: Size::of(&Resources::default()),
            network: Network::None,
            mode: InvokeMode::Warm,
            root: None,
        }
    }

    #[tokio::test]
    async fn whatever_differs_makes_another_key_and_the_input_does_not() {
        let digests = Digests::default();
        let base = program("a");
        let mut variants: Vec<Program> = iter::repeat_n(base.clone(), 6).collect();
        variants[1].code = program("b").code;
        variants[2].runtime = Runtime::Typescript;
        variants[3].args = vec!["x".to_owned()];
        variants[4].env = [("K".to_owned(), "w".to_owned())].into();
        variants[5].code = Code::Archive {
            bytes: Bytes::from_static(b"a"),
            entrypoint: "main.js".to_owned(),
        };
        let mut keys = HashSet::new();
        for variant in &variants {
            keys.insert(digests.key(circumstances("one"), variant).await);
        }
        let one = circumstances("one");
        let smaller = Resources {
            mem_mb: 64,
            ..Resources::default()
        };
        for other in [
            circumstances("two"),
            Circumstances {
                isolation: IsolationClass::Sandbox,
                ..one
            },
            Circumstances {
                network: Network::Egress,
                ..one
            },
            Circumstances {
                mode: InvokeMode::Forked,
                ..one
            },
            Circumstances {
                size: Size::of(&smaller),
                ..one
            },
            Circumstances {
                root: Some(RootId::of_digest("sha256:1")),
                ..one
            },
            Circumstances {
                root: Some(RootId::of_digest("sha256:2")),
                ..one
            },
        ] {
            keys.insert(digests.key(other, &base).await);
        }
        assert_eq!(keys.len(), variants.len() + 7);

        let mut asked_again = base;
        asked_again.input = Bytes::from_static(b"1");
        assert!(!keys.insert(digests.key(one, &asked_again).await));
    }

    #[tokio::test]
    async fn large_code_is_hashed_once_and_small_code_keeps_nothing_alive() {
        let digests = Digests::default();
        let large = program(&"x".repeat(INLINE_BYTES_MAX + 1));
        let first = digests.key(circumstances("one"), &large).await;
        assert!(digests.recall(large.code.bytes()).is_some());
        assert_eq!(digests.key(circumstances("one"), &large).await, first);
        let copy = program(&"x".repeat(INLINE_BYTES_MAX + 1));
        assert_eq!(digests.key(circumstances("one"), &copy).await, first);
        digests.forget();
        let small = program("x");
        digests.key(circumstances("one"), &small).await;
        assert!(digests.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let digests = Digests::default();
        for _ in 0..REMEMBERED_LEN_MAX * 2 {
            digests
                .key(circumstances("one"), &program(&"y".repeat(REMEMBERED_BYTES_MIN)))
                .await;
        }
        assert_eq!(digests.0.lock().unwrap().len(), REMEMBERED_LEN_MAX);
        let half = program(&"z".repeat(REMEMBERED_BYTES_MAX / 2 + 1));
        digests.key(circumstances("one"), &half).await;
        let other = program(&"w".repeat(REMEMBERED_BYTES_MAX / 2 + 1));
        digests.key(circumstances("one"), &other).await;
        assert_eq!(digests.0.lock().unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn moving_a_border_between_fields_makes_another_key(
            texts in proptest::collection::vec("[ab]{0,3}", 2..5),
            others in proptest::collection::vec("[ab]{0,3}", 2..5),
        ) {
            let with_args = |args: &[String]| {
                let mut program = program("a");
                program.args = args.to_vec();
                key(circumstances("one"), &program, &[0; 32])
            };
            prop_assert_eq!(with_args(&texts) == with_args(&others), texts == others);
        }
    }
}
