//! A guest that says what the test wants, over an in-memory stream.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
    task::JoinHandle,
};
use vulcan_api::{Code, Program, Runtime, Timestamp, WorkloadId};
use vulcan_backend::{BackendError, GuestClient, Invocation, LogChunk, Outcome};
use vulcan_guest_protocol::{
    Direction, ExitStatus, Exited, FromHost, GENERATION_MAX, GuestError, GuestFrame, HostFrame, InvokeMode,
    ProgramMode, Welcome,
};

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The guest's end of the stream.
pub(crate) struct Guest {
    stream: DuplexStream,
    decoder: FromHost,
}

impl Guest {
    pub(crate) async fn send(&mut self, channel: u32, frame: GuestFrame) {
        let mut bytes = Vec::new();
        frame.encode(channel, &mut bytes).unwrap();
        self.send_raw(&bytes).await;
    }

    /// Sends bytes; a host that has hung up is what many tests wait for.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.ok();
    }

    /// Returns the host's next frame; `None` when it has hung up.
    pub(crate) async fn next_frame(&mut self) -> Option<(u32, HostFrame)> {
        loop {
            if let Some(found) = self.decoder.next_frame().unwrap() {
                return Some(found);
            }
            let mut bytes = [0; 8192];
            match self.stream.read(&mut bytes).await.unwrap() {
                0 => return None,
                count => self.decoder.push(&bytes[..count]),
            }
        }
    }

    /// Waits until the host hangs up.
    pub(crate) async fn until_left(mut self) {
        while self.next_frame().await.is_some() {}
    }

    pub(crate) async fn welcome(&mut self) {
        let (channel, frame) = self.next_frame().await.unwrap();
        assert!(matches!((channel, frame), (0, HostFrame::Hello(_))));
        self.send(0, welcome()).await;
    }
}

pub(crate) fn welcome() -> GuestFrame {
    GuestFrame::Welcome(Welcome {
        generation: GENERATION_MAX,
        agent: "scripted".into(),
    })
}

/// Returns both ends of a fresh stream.
pub(crate) fn pair() -> (DuplexStream, Guest) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let guest = Guest {
        stream: theirs,
        decoder: FromHost::default(),
    };
    (ours, guest)
}

/// Returns a client and the guest that it has shaken hands with.
pub(crate) async fn connected() -> (Arc<GuestClient>, Guest) {
    let (ours, mut guest) = pair();
    let (client, ()) = tokio::join!(GuestClient::connect(ours, PATIENCE), guest.welcome());
    (Arc::new(client.unwrap()), guest)
}

pub(crate) fn invocation(runtime: Runtime, code: &str, input: &str) -> Invocation {
    Invocation {
        workload: WorkloadId::generate(Timestamp::from_millis(0), 1),
        program: Program {
            image: None,
            runtime,
            code: Code::File {
                name: runtime.default_entrypoint().unwrap_or("program").into(),
                bytes: Bytes::copy_from_slice(code.as_bytes()),
            },
            input: Bytes::copy_from_slice(input.as_bytes()),
            args: Vec::new(),
            env: BTreeMap::new(),
        },
        timeout: Duration::from_secs(30),
        output_bytes_max: 1000,
        mode: InvokeMode::Once,
    }
}

/// An invocation on its way, with everything that it logs.
pub(crate) struct Running {
    task: JoinHandle<Result<Outcome, BackendError>>,
    logs: mpsc::Receiver<LogChunk>,
}

impl Running {
    pub(crate) fn begin(client: &Arc<GuestClient>, invocation: Invocation) -> Self {
        let (sink, logs) = mpsc::channel(10_000);
        let client = Arc::clone(client);
        let task = tokio::spawn(async move { client.invoke(invocation, sink).await });
        Self { task, logs }
    }

    /// Drops the call in the middle.
    pub(crate) async fn abandon(self) {
        self.task.abort();
        self.task.await.unwrap_err();
    }

    pub(crate) async fn end(mut self) -> (Result<Outcome, BackendError>, Vec<LogChunk>) {
        let result = tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
        let mut chunks = Vec::new();
        while let Ok(chunk) = self.logs.try_recv() {
            chunks.push(chunk);
        }
        (result, chunks)
    }
}

/// Lets a guest answer an invocation with these frames on its channel.
pub(crate) async fn answered(
    invocation: Invocation,
    frames: Vec<GuestFrame>,
) -> (Result<Outcome, BackendError>, Vec<LogChunk>) {
    let (client, mut guest) = connected().await;
    let running = Running::begin(&client, invocation);
    let (channel, _) = guest.next_frame().await.unwrap();
    for frame in frames {
        guest.send(channel, frame).await;
    }
    running.end().await
}

pub(crate) fn exited(mode: ProgramMode, status: ExitStatus) -> GuestFrame {
    GuestFrame::Exited(Exited {
        reusable: 0,
        status,
        mode,
        error: None,
    })
}

pub(crate) fn failed(code: &str, message: String, stack: Option<String>) -> GuestFrame {
    GuestFrame::Exited(Exited {
        reusable: 0,
        status: ExitStatus::Code(1),
        mode: ProgramMode::Handler,
        error: Some(GuestError {
            code: code.into(),
            message,
            stack,
        }),
    })
}
