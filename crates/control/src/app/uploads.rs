//! What a caller sends in pieces, on its way to a node: limited in size and in how long it may say nothing, never held whole.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use vulcan_api::{Problem, ProblemKind};
use vulcan_bus::UploadPiece;

use super::Refused;
use crate::service::Service;

/// How many pieces wait for the node.
const PIECES_AHEAD: usize = 8;
/// How long the rest of an upload that nobody needs any more is still taken, so that its sender gets to read why.
const REST_WAIT_MAX: Duration = Duration::from_secs(10);

/// An upload on its way.
#[derive(Debug)]
pub(crate) struct Upload {
    /// Its pieces, for the node.
    pub(crate) pieces: mpsc::Receiver<UploadPiece>,
    /// What went wrong with it, if anything did.
    pub(crate) fault: oneshot::Receiver<Refused>,
}

/// What an upload may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    bytes_max: u64,
    silence_max: Duration,
}

impl Service {
    /// Starts to take an upload. `announced` is its length where that is known beforehand.
    ///
    /// # Errors
    ///
    /// `body-too-large` for one that announces more than is taken.
    pub(crate) fn upload<S>(&self, body: S, announced: Option<u64>) -> Result<Upload, Refused>
    where
        S: Stream<Item = Result<Bytes, String>> + Send + 'static,
    {
        let limits = Limits {
            bytes_max: self.options.upload_bytes_max,
            silence_max: self.options.body_timeout,
        };
        if announced.is_some_and(|bytes| bytes > limits.bytes_max) {
            return Err(too_large(announced, limits.bytes_max));
        }
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        let (fault_sender, fault) = oneshot::channel();
        let taking = async move {
            tokio::pin!(body);
            if let Err(fault) = take(&mut body, &sender, limits).await {
                // Told before the node sees the end of the pieces. Who does not listen any more needs no reason.
                drop(fault_sender.send(fault));
            }
            drop(sender);
            let rest = async { while body.next().await.is_some_and(|piece| piece.is_ok()) {} };
            drop(tokio::time::timeout(REST_WAIT_MAX, rest).await);
        };
        self.tasks
            .spawn(self.stop.clone().run_until_cancelled_owned(taking));
        Ok(Upload { pieces, fault })
    }
}

/// Hands pieces on until the end, or until nobody wants more.
async fn take<S>(body: &mut S, sender: &mpsc::Sender<UploadPiece>, limits: Limits) -> Result<(), Refused>
where
    S: Stream<Item = Result<Bytes, String>> + Unpin,
{
    let mut taken = 0_u64;
    loop {
        let piece = match tokio::time::timeout(limits.silence_max, body.next()).await {
            Ok(Some(Ok(bytes))) => bytes,
            Ok(Some(Err(reason))) => {
                let detail = format!("the upload broke off after {taken} bytes: {reason}");
                return Err(Refused::new(ProblemKind::MalformedBody, detail));
            }
            Ok(None) => {
                drop(sender.send(UploadPiece::End).await);
                return Ok(());
            }
            Err(_) => {
                let seconds = limits.silence_max.as_secs_f64();
                let detail = format!("nothing of the upload came for {seconds} seconds, after {taken} bytes");
                return Err(Refused::new(ProblemKind::RequestTimeout, detail));
            }
        };
        taken = taken.saturating_add(piece.len() as u64);
        if taken > limits.bytes_max {
            return Err(too_large(None, limits.bytes_max));
        }
        if sender.send(UploadPiece::Bytes(piece)).await.is_err() {
            return Ok(());
        }
    }
}

fn too_large(announced: Option<u64>, bytes_max: u64) -> Refused {
    let allowed = format!("at most {bytes_max} bytes");
    let detail = format!("the upload is too large: {allowed}; the operator sets images.upload_max");
    Problem::new(ProblemKind::BodyTooLarge, detail)
        .with_field("body", announced.map(Value::from), allowed)
        .into()
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    const LIMITS: Limits = Limits {
        bytes_max: 10,
        silence_max: Duration::from_millis(50),
    };

    async fn taken(body: Vec<Result<Bytes, String>>, is_endless: bool) -> (Vec<UploadPiece>, Option<String>) {
        let (sender, mut pieces) = mpsc::channel(16);
        let tail = if is_endless {
            stream::pending().left_stream()
        } else {
            stream::empty().right_stream()
        };
        let mut body = stream::iter(body).chain(tail).boxed();
        let fault = take(&mut body, &sender, LIMITS).await.err();
        drop(sender);
        let mut all = Vec::new();
        while let Some(piece) = pieces.recv().await {
            all.push(piece);
        }
        (all, fault.map(|fault| fault.into_problem().slug().to_owned()))
    }

    fn piece(text: &'static str) -> UploadPiece {
        UploadPiece::Bytes(Bytes::from_static(text.as_bytes()))
    }

    fn bytes(text: &'static str) -> Result<Bytes, String> {
        Ok(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn an_upload_goes_on_in_order_and_only_a_whole_one_has_an_end() {
        assert_eq!(
            taken(vec![bytes("12345"), bytes("67890")], false).await,
            (vec![piece("12345"), piece("67890"), UploadPiece::End], None)
        );
        assert_eq!(
            taken(vec![bytes("12345"), bytes("678901")], false).await,
            (vec![piece("12345")], Some("body-too-large".to_owned()))
        );
        assert_eq!(
            taken(vec![bytes("12345"), Err("reset".to_owned())], false).await,
            (vec![piece("12345")], Some("malformed-body".to_owned()))
        );
        assert_eq!(
            taken(vec![bytes("12345")], true).await,
            (vec![piece("12345")], Some("request-timeout".to_owned()))
        );
    }
}
