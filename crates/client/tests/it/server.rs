//! A server that plays a script: each connection gets the next answer, and what it asked is kept.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
};
use vulcan_client::{Client, Endpoint};

/// What one connection is answered.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// These bytes, then the end of the connection.
    Bytes(String),
    /// Nothing: the connection is closed once the request is there.
    Hangup,
    /// Nothing, and the connection stays.
    Silence,
}

/// The server's end, for the test.
pub(crate) struct Scripted {
    pub(crate) client: Client,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// Starts a server on a free port of loopback.
    pub(crate) async fn start(script: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::default();
        let kept = Arc::clone(&requests);
        tokio::spawn(async move {
            for answer in script {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(play(stream, answer, Arc::clone(&kept)));
            }
        });
        Self {
            client: Client::new(endpoint.parse().unwrap()).unwrap(),
            requests,
        }
    }

    /// Starts a server on a socket file.
    pub(crate) fn start_unix(path: &Path, answer: Answer) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let requests = Arc::default();
        let kept = Arc::clone(&requests);
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            play(stream, answer, kept).await;
        });
        Self {
            client: Client::new(Endpoint::Unix(path.to_owned())).unwrap(),
            requests,
        }
    }

    /// Returns the requests as they came, heads in lower case.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Makes an answer with a JSON body.
pub(crate) fn json(status: &str, body: &str) -> Answer {
    with_type(status, "application/json", body)
}

/// Makes an answer with a body of any type.
pub(crate) fn with_type(status: &str, media_type: &str, body: &str) -> Answer {
    let length = body.len();
    Answer::Bytes(format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ))
}

/// Makes an event stream; `is_whole` says whether it ends as HTTP wants it or breaks off.
pub(crate) fn events(body: &str, is_whole: bool) -> Answer {
    let end = if is_whole { "0\r\n\r\n" } else { "" };
    Answer::Bytes(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n\
         {:x}\r\n{body}\r\n{end}",
        body.len()
    ))
}

async fn play(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: Answer,
    kept: Arc<Mutex<Vec<String>>>,
) {
    let request = read_request(&mut stream).await;
    kept.lock().unwrap().push(request);
    match answer {
        Answer::Bytes(bytes) => {
            stream.write_all(bytes.as_bytes()).await.unwrap();
            stream.shutdown().await.ok();
        }
        Answer::Hangup => {}
        Answer::Silence => std::future::pending().await,
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return format!("{head}\n\n{body}");
            }
        }
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.unwrap();
        if read == 0 {
            return text;
        }
        bytes.extend_from_slice(&piece[..read]);
    }
}
