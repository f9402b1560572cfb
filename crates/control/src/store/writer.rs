//! The one task that writes: it takes what waits, commits it at once, and answers all.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    Error, Store,
    step::{Step, steps},
    write::{Write, Written},
};

/// The most writes in one commit.
const BATCH_MAX: usize = 256;

/// A write and who waits for it.
#[derive(Debug)]
pub(super) struct Request {
    write: Write,
    reply: oneshot::Sender<Result<Written, Error>>,
}

/// A write that is on its way. Dropping it does not take the write back.
#[derive(Debug)]
pub(crate) struct PendingWrite(Result<oneshot::Receiver<Result<Written, Error>>, Option<Error>>);

impl Store {
    /// Hands a write over. It waits behind those that were handed over before, and is durable when the answer is `Ok`.
    pub(crate) fn write(&self, write: Write) -> PendingWrite {
        let (reply, answer) = oneshot::channel();
        match self.writes.try_send(Request { write, reply }) {
            Ok(()) => PendingWrite(Ok(answer)),
            Err(mpsc::error::TrySendError::Full(_)) => PendingWrite(Err(Some(Error::Busy))),
            Err(mpsc::error::TrySendError::Closed(_)) => PendingWrite(Err(Some(Error::Closed))),
        }
    }
}

impl Future for PendingWrite {
    type Output = Result<Written, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Ok(answer) => Poll::Ready(ready!(Pin::new(answer).poll(context)).unwrap_or(Err(Error::Closed))),
            Err(error) => Poll::Ready(Err(error.take().unwrap_or(Error::Closed))),
        }
    }
}

/// Writes until `stop`, and then what was handed over before.
pub(super) async fn run(
    mut connection: SqliteConnection,
    mut requests: mpsc::Receiver<Request>,
    stop: CancellationToken,
) {
    let mut batch = Vec::new();
    loop {
        // Both branches are cancel-safe: recv_many takes nothing when it is dropped.
        let count = tokio::select! {
            count = requests.recv_many(&mut batch, BATCH_MAX) => count,
            () = stop.cancelled(), if !requests.is_closed() => {
                requests.close();
                continue;
            }
        };
        if count == 0 {
            break;
        }
        commit_all(&mut connection, std::mem::take(&mut batch)).await;
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(error = %error, "database could not be closed");
    }
}

async fn commit_all(connection: &mut SqliteConnection, batch: Vec<Request>) {
    let (writes, replies): (Vec<Write>, Vec<_>) = batch
        .into_iter()
        .map(|request| (request.write, request.reply))
        .unzip();
    match commit(connection, &writes).await {
        Ok(written) => {
            for (reply, written) in replies.into_iter().zip(written) {
                drop(reply.send(Ok(written)));
            }
        }
        // One bad write must not take the others with it.
        Err(_) if writes.len() > 1 => {
            for (write, reply) in writes.iter().zip(replies) {
                let result = commit(connection, std::slice::from_ref(write)).await;
                drop(reply.send(result.map(|mut written| written.pop().unwrap_or(Written::Done))));
            }
        }
        Err(error) => {
            for reply in replies {
                drop(reply.send(Err(error.clone())));
            }
        }
    }
}

async fn commit(connection: &mut SqliteConnection, writes: &[Write]) -> Result<Vec<Written>, Error> {
    let steps = steps(writes);
    if let [step] = steps.as_slice()
        && step.is_one_statement()
    {
        // SQLite commits it by itself; each statement less is a hand-over less to the thread that executes them.
        return step.apply(connection).await;
    }
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    match apply_all(connection, &steps).await {
        Ok(written) => Ok(written),
        Err(error) => {
            // SQLite has rolled back by itself after some errors, a full disk among them; a second time is an error.
            drop(sqlx::query("ROLLBACK").execute(&mut *connection).await);
            Err(error)
        }
    }
}

async fn apply_all(connection: &mut SqliteConnection, steps: &[Step<'_>]) -> Result<Vec<Written>, Error> {
    let mut written = Vec::new();
    for step in steps {
        written.extend(step.apply(connection).await?);
    }
    sqlx::query("COMMIT").execute(&mut *connection).await?;
    Ok(written)
}
