//! What lies on the host for attackers to find: files, a process, listeners, shared memory.
//!
//! One Python process on the host holds all of it, says where it is, and tells afterwards what was touched.

use std::{collections::BTreeMap, path::Path, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
};

use super::stage::{random, within};

/// The interpreter of bait and proofs on the host.
pub(super) const HOST_PYTHON: &str = "/usr/bin/python3";

const SCRIPT: &str = include_str!("bait.py");

/// What lies on the host for attackers to find. Everything goes away with it.
#[derive(Debug)]
pub struct Bait {
    env: BTreeMap<String, String>,
    talk: Mutex<Talk>,
    holder: Option<Child>,
}

#[derive(Debug)]
struct Talk {
    ask: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Bait {
    pub(super) async fn lay() -> Self {
        let token = format!("vulcan-conformance-{:032x}", random());
        let folder = std::env::temp_dir().join(format!("{token}-bait"));
        std::fs::create_dir(&folder).expect("a temporary folder can be made");
        let mut holder = hold(&token, &folder);
        let mut talk = Talk {
            ask: holder.stdin.take(),
            answers: BufReader::new(holder.stdout.take().expect("standard output is piped")).lines(),
        };
        let env = serde_json::from_str(&talk.answer().await).expect("the bait says where it lies");
        Self {
            env,
            talk: Mutex::new(talk),
            holder: Some(holder),
        }
    }

    /// Returns where everything lies, as environment variables of an attack.
    #[must_use]
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    /// Returns one of the variables.
    ///
    /// # Panics
    ///
    /// When there is none of that name.
    #[must_use]
    pub fn at(&self, name: &str) -> &str {
        self.env
            .get(name)
            .unwrap_or_else(|| panic!("the bait has no {name}"))
    }

    /// Returns what was touched, in words.
    pub async fn harm(&self) -> Vec<String> {
        let mut talk = self.talk.lock().await;
        let ask = talk.ask.as_mut().expect("the bait was not taken away");
        ask.write_all(b"?\n").await.expect("the bait lives");
        serde_json::from_str(&talk.answer().await).expect("the bait reports")
    }

    /// Asserts that nothing was touched.
    ///
    /// # Panics
    ///
    /// When something was.
    pub async fn expect_untouched(&self) {
        let harm = self.harm().await;
        assert!(harm.is_empty(), "the host was harmed: {harm:#?}");
    }

    /// Takes everything away, and waits until it is gone.
    pub(super) async fn remove(mut self) {
        self.talk.lock().await.ask = None;
        if let Some(mut holder) = self.holder.take() {
            let _ = within("the end of the bait", holder.wait()).await;
        }
    }
}

impl Talk {
    async fn answer(&mut self) -> String {
        within("the bait's answer", self.answers.next_line())
            .await
            .expect("the bait's answer is text")
            .expect("the bait lives")
    }
}

fn hold(token: &str, folder: &Path) -> Child {
    Command::new(HOST_PYTHON)
        .args(["-I", "-c", SCRIPT, token])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("attacks need {HOST_PYTHON} on the host: {error}"))
}
