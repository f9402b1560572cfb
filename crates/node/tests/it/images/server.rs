//! A registry that does what a test tells it: it stalls, breaks off, lies, and asks for tokens.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::made::{INDEX, MANIFEST, Made, digest};

/// What goes wrong with the next answer with a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection ends after so many bytes.
    Cut(usize),
    /// Nothing more comes after so many bytes.
    Stall(usize),
    /// The server fails.
    Status(u16),
    /// What is sent is another content of the same length.
    Garbled,
    /// What is sent has more bytes than it should.
    TooLong,
}

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) range: Option<String>,
    pub(super) authorization: Option<String>,
}

#[derive(Default)]
struct State {
    /// Content and media type by path.
    pages: HashMap<String, (Vec<u8>, String)>,
    faults: VecDeque<Fault>,
    asked: Vec<Asked>,
    token: Option<String>,
    /// Where blobs are in truth.
    elsewhere: Option<String>,
}

pub(super) struct Server {
    pub(super) host: String,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let state: Arc<Mutex<State>> = Arc::default();
        let serving = (Arc::clone(&state), host.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, host) = (Arc::clone(&serving.0), serving.1.clone());
                tokio::spawn(async move { serve(stream, &state, &host).await });
            }
        });
        Self { host, state, task }
    }

    /// A server with one image, under `app:latest`.
    pub(super) async fn with(image: &Made) -> Self {
        let server = Self::start().await;
        server.put(image);
        server
    }

    pub(super) fn name(&self) -> String {
        format!("{}/app:latest", self.host)
    }

    pub(super) fn put(&self, image: &Made) {
        let manifest = image.manifest_bytes();
        self.page(
            &format!("manifests/{}", digest(&manifest)),
            manifest.clone(),
            MANIFEST,
        );
        self.page("manifests/latest", manifest, MANIFEST);
        self.page(
            &format!("blobs/{}", digest(&image.config)),
            image.config.clone(),
            "",
        );
        for layer in &image.layers {
            self.page(&format!("blobs/{}", digest(layer)), layer.clone(), "");
        }
    }

    pub(super) fn put_index(&self, index: &serde_json::Value) {
        self.page("manifests/latest", index.to_string().into_bytes(), INDEX);
    }

    pub(super) fn page(&self, path: &str, content: Vec<u8>, media_type: &str) {
        let mut state = self.state.lock().unwrap();
        let page = (content, media_type.to_owned());
        state.pages.insert(format!("/v2/app/{path}"), page);
    }

    pub(super) fn faults(&self, faults: &[Fault]) {
        self.state.lock().unwrap().faults = faults.iter().copied().collect();
    }

    pub(super) fn ask_for_token(&self, token: &str) {
        self.state.lock().unwrap().token = Some(token.to_owned());
    }

    pub(super) fn send_elsewhere(&self, host: &str) {
        self.state.lock().unwrap().elsewhere = Some(host.to_owned());
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    /// The ranges that were asked of a blob, in order.
    pub(super) fn ranges(&self, digest: &str) -> Vec<Option<String>> {
        let ends = format!("blobs/{digest}");
        self.asked()
            .into_iter()
            .filter(|asked| asked.path.ends_with(&ends))
            .map(|asked| asked.range)
            .collect()
    }
}

async fn serve(mut stream: TcpStream, state: &Mutex<State>, host: &str) {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => head.extend_from_slice(&buffer[..read]),
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let asked = Asked {
        path: head.split(' ').nth(1).unwrap_or_default().to_owned(),
        range: header("range"),
        authorization: header("authorization"),
    };
    let answer = answer(&mut state.lock().unwrap(), asked, host);
    // The other side may have had enough.
    let _ = stream.write_all(answer.head.as_bytes()).await;
    let _ = stream.write_all(&answer.body).await;
    let _ = stream.flush().await;
    if answer.then_stalls {
        // Until the other side gives up.
        let _ = stream.read(&mut buffer).await;
    }
}

struct Answer {
    head: String,
    body: Vec<u8>,
    then_stalls: bool,
}

fn plain(status: &str, headers: &str, body: &[u8]) -> Answer {
    Answer {
        head: format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        ),
        body: body.to_vec(),
        then_stalls: false,
    }
}

fn answer(state: &mut State, asked: Asked, host: &str) -> Answer {
    state.asked.push(asked.clone());
    if asked.path.starts_with("/token") {
        let token = state.token.clone().unwrap_or_default();
        return plain("200 OK", "", format!("{{\"token\":{token:?}}}").as_bytes());
    }
    if let Some(token) = &state.token
        && asked.authorization.as_deref() != Some(&format!("Bearer {token}"))
    {
        let realm = format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"test\"\r\n");
        return plain("401 Unauthorized", &realm, b"");
    }
    let is_blob = asked.path.contains("/blobs/");
    if let (true, Some(elsewhere)) = (is_blob, &state.elsewhere) {
        let to = format!("Location: http://{elsewhere}{}\r\n", asked.path);
        return plain("307 Temporary Redirect", &to, b"");
    }
    let Some((content, media_type)) = state.pages.get(&asked.path).cloned() else {
        return plain("404 Not Found", "", b"{}");
    };
    // Configs are small: faults are for layers.
    let is_layer = is_blob && !content.starts_with(b"{");
    let fault = if is_layer { state.faults.pop_front() } else { None };
    let start: usize = asked
        .range
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
        .unwrap_or(0);
    let (status, ranged) = if start > 0 {
        let total = content.len();
        let range = format!("Content-Range: bytes {start}-{}/{total}\r\n", total - 1);
        ("206 Partial Content", range)
    } else {
        ("200 OK", String::new())
    };
    let headers = format!("Content-Type: {media_type}\r\n{ranged}");
    let mut answer = plain(status, &headers, &content[start..]);
    match fault {
        None => {}
        Some(Fault::Cut(bytes)) => answer.body.truncate(bytes),
        Some(Fault::Stall(bytes)) => {
            answer.body.truncate(bytes);
            answer.then_stalls = true;
        }
        Some(Fault::Status(code)) => answer = plain(&format!("{code} Fault"), "", b""),
        Some(Fault::Garbled) => answer.body.iter_mut().for_each(|byte| *byte ^= 1),
        Some(Fault::TooLong) => {
            let mut body = answer.body.clone();
            body.extend_from_slice(b"more");
            answer = plain(status, &headers, &body);
        }
    }
    answer
}
