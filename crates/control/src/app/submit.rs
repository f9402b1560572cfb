//! Taking a workload in.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use vulcan_api::{
    BackendInfo, Problem, ProblemKind, Status, Timestamp, Workload, WorkloadAccepted, WorkloadId,
};

use super::{
    Refused,
    prepare::{Prepared, Rules, prepare},
};
use crate::{
    board::Seen,
    budget::Share,
    driver::{Message, Submit, SubmitError, Submitted},
    scheduler::Refusal,
    service::Service,
    store::KeyClaim,
};

/// A larger body is read and checked beside the async threads.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// The project of everything, until there are users.
pub(crate) const PROJECT: &str = "default";

/// A request to run code.
#[derive(Debug)]
pub(crate) struct Request {
    /// The body, within its limit.
    pub(crate) body: Bytes,
    /// The memory that the body holds, where it is a large one.
    pub(crate) share: Option<Share>,
    /// The caller's key: 1 to 255 visible ASCII characters.
    pub(crate) idempotency_key: Option<String>,
    /// When it arrived.
    pub(crate) arrived_at: Instant,
}

/// A workload that was taken in, now or by an earlier request with the same key.
enum Taken {
    New(WorkloadId, watch::Receiver<Seen>),
    Earlier(WorkloadId),
}

impl Service {
    /// Runs a workload, and returns its record once it is over. When the caller goes away, the workload goes on.
    pub(crate) async fn workload_run(&self, request: Request) -> Result<Arc<Workload>, Refused> {
        match self.take_in(request, false).await? {
            Taken::New(id, seen) => self.wait_for_end(id, seen).await,
            Taken::Earlier(id) => match self.shared.board.watch(id) {
                Some(seen) => self.wait_for_end(id, seen).await,
                None => self.workload_get(id).await,
            },
        }
    }

    /// Takes a workload in, and returns once it would survive a restart.
    pub(crate) async fn workload_submit(&self, request: Request) -> Result<WorkloadAccepted, Refused> {
        match self.take_in(request, true).await? {
            Taken::New(id, _) => Ok(WorkloadAccepted {
                id,
                status: Status::Pending,
            }),
            Taken::Earlier(id) => {
                let record = self.workload_get(id).await?;
                Ok(WorkloadAccepted {
                    id,
                    status: record.status,
                })
            }
        }
    }

    async fn take_in(&self, request: Request, is_async: bool) -> Result<Taken, Refused> {
        if self.is_draining.load(Ordering::Relaxed) {
            return Err(Refused::shutting_down(
                "the server is shutting down and takes no new workloads",
            ));
        }
        let (arrived_at, body_share) = (request.arrived_at, request.share);
        let (prepared, request_digest) = self
            .check(request.body, request.idempotency_key.is_some())
            .await?;
        let now = self.shared.clock.now();
        let key = request.idempotency_key.map(|key| KeyClaim {
            key,
            request_digest,
            valid_since: self.key_horizon(now),
        });
        let is_idempotent = prepared.spec.idempotent;
        let (program, record) = record(prepared, WorkloadId::generate(now, self.random()), now);
        tracing::Span::current().record("workload.id", tracing::field::display(&record.id));
        drop(body_share);
        let share = self.budget.take(program.code.bytes().len() + program.input.len());
        let share = share.ok_or_else(|| {
            Refused::overloaded("the programs that wait hold all the memory that they may; try again later")
        })?;
        let submit = Submit {
            record,
            program,
            is_async,
            is_idempotent,
            key,
            share,
            accepted_at: arrived_at,
        };
        self.hand_over(submit, request_digest).await
    }

    /// Reads and checks a body, on a thread of its own where that may take long.
    async fn check(&self, body: Bytes, is_keyed: bool) -> Result<(Prepared, [u8; 32]), Refused> {
        let inventory = self.shared.inventory.borrow().clone();
        if inventory.is_empty() {
            return Err(Refused::shutting_down(
                "the server is starting: its node has not reported yet",
            ));
        }
        let rules = Rules {
            limits: self.options.limits,
            isolation_floor: self.options.isolation_floor,
            input_bytes_max: self.options.input_bytes_max,
            archive_entries_max: self.options.archive_entries_max,
        };
        let is_short = body.len() <= INLINE_BYTES_MAX && !mentions_archive(&body);
        let work = move || {
            let backends: Vec<&BackendInfo> = inventory.backends().collect();
            let prepared = prepare(&body, &rules, &backends)?;
            let digest = if is_keyed {
                Sha256::digest(&body).into()
            } else {
                [0; 32]
            };
            Ok((prepared, digest))
        };
        if is_short {
            return work();
        }
        let permit = self.checks.acquire().await;
        let result = tokio::task::spawn_blocking(work).await;
        drop(permit);
        result.unwrap_or_else(|_| {
            Err(Refused::new(
                ProblemKind::Internal,
                "the request could not be checked",
            ))
        })
    }

    async fn hand_over(&self, submit: Submit, request_digest: [u8; 32]) -> Result<Taken, Refused> {
        let id = submit.record.id;
        let (reply, answer) = oneshot::channel();
        if self
            .driver
            .send(Message::Submit(Box::new(submit), reply))
            .await
            .is_err()
        {
            return Err(Refused::shutting_down("the server is shutting down"));
        }
        match answer.await {
            Ok(Ok(Submitted::New(seen))) => Ok(Taken::New(id, seen)),
            Ok(Ok(Submitted::KeyTaken {
                workload,
                request_digest: earlier,
            })) => {
                if earlier == request_digest {
                    Ok(Taken::Earlier(workload))
                } else {
                    Err(key_conflict(workload))
                }
            }
            Ok(Err(SubmitError::Refused(refusal))) => Err(refused(refusal)),
            Ok(Err(SubmitError::Storage(error))) => Err(not_taken_in(&error)),
            Ok(Err(SubmitError::ShuttingDown)) | Err(_) => {
                Err(Refused::shutting_down("the server is shutting down"))
            }
        }
    }

    /// Waits until the end is on record.
    async fn wait_for_end(
        &self,
        id: WorkloadId,
        mut seen: watch::Receiver<Seen>,
    ) -> Result<Arc<Workload>, Refused> {
        loop {
            {
                let now = seen.borrow_and_update();
                if let Some(error) = &now.storage_failure {
                    return Err(unstored(id, error));
                }
                if now.record.status.is_final() {
                    return Ok(Arc::clone(&now.record));
                }
            }
            if seen.changed().await.is_err() {
                // Its driver is gone: whatever is on record is the answer.
                let record = self.workload_get(id).await?;
                if record.status.is_final() {
                    return Ok(record);
                }
                let detail = format!(
                    "the server was shut down before workload {id} was over; read it with GET /v1/workloads/{id} later"
                );
                return Err(Refused::shutting_down(detail));
            }
        }
    }

    fn key_horizon(&self, now: Timestamp) -> Timestamp {
        let lifetime = i64::try_from(self.options.idempotency_key_lifetime.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(now.as_millis().saturating_sub(lifetime))
    }
}

/// Looks for the field that makes a check long. A false hit costs a hop to another thread, a miss is impossible: JSON
/// escapes aside, which cost the async thread a moment.
fn mentions_archive(body: &[u8]) -> bool {
    const FIELD: &[u8] = b"\"code_archive\"";
    body.windows(FIELD.len()).any(|window| window == FIELD)
}

fn record(prepared: Prepared, id: WorkloadId, now: Timestamp) -> (vulcan_api::Program, Workload) {
    let Prepared {
        spec,
        program,
        resources,
        input_digest,
        class,
        reason,
    } = prepared;
    let record = Workload {
        id,
        project: PROJECT.to_owned(),
        status: Status::Pending,
        isolation: spec.isolation,
        isolation_used: Some(class),
        isolation_reason: Some(reason),
        runtime: spec.runtime,
        image: spec.image.clone(),
        node: None,
        input_digest,
        output: None,
        exit_code: None,
        error: None,
        resources,
        network: spec.network,
        usage: None,
        reuse: spec.reuse,
        start: None,
        queued_ms: None,
        start_ms: None,
        run_ms: None,
        duration_ms: None,
        created_at: now,
        started_at: None,
        finished_at: None,
        logs_truncated: false,
        labels: spec.labels,
    };
    (program, record)
}

fn key_conflict(workload: WorkloadId) -> Refused {
    let detail = format!(
        "this Idempotency-Key was used before with another body, for workload {workload}: use a new key for a new request"
    );
    Refused::new(ProblemKind::IdempotencyConflict, detail)
}

fn refused(refusal: Refusal) -> Refused {
    match refusal {
        Refusal::QueueFull { waiting } => Refused::overloaded(format!(
            "{waiting} workloads are waiting already; try again later"
        )),
        Refusal::TooLarge { mem_mb_max } => {
            let allowed =
                format!("at most {mem_mb_max} MiB: no node that offers this class has more for instances");
            Problem::new(
                ProblemKind::LimitExceeded,
                format!("resources.mem_mb lies outside of its limits: {allowed}"),
            )
            .with_field("resources.mem_mb", None, allowed)
            .into()
        }
    }
}

fn not_taken_in(error: &crate::store::Error) -> Refused {
    Refused::unstored("the workload was not taken in, and nothing of it is kept", error)
}

fn unstored(id: WorkloadId, error: &crate::store::Error) -> Refused {
    let what = format!(
        "workload {id} could not be recorded; if it was started, its end is stored as soon as that is possible, and GET /v1/workloads/{id} finds it then"
    );
    Refused::unstored(&what, error)
}
