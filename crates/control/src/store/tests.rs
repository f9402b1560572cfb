//! The store by itself: what is written is read, and one bad write spoils no other.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde_json::json;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vulcan_api::{
    Code, ErrorCode, ImageProgram, Isolation, IsolationClass, Network, Program, Resources, Reuse, Runtime,
    StartKind, Status, Timestamp, Usage, Workload, WorkloadError, WorkloadId,
};

use super::{Error, Filter, Insert, OpenOptions, Page, Store, Write, Written};

struct Opened {
    store: Store,
    dir: tempfile::TempDir,
    tasks: TaskTracker,
    stop: CancellationToken,
}

async fn open_in(dir: tempfile::TempDir) -> Opened {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let path = dir.path().join("control.db");
    let store = Store::open(&path, OpenOptions::default(), &tasks, stop.clone())
        .await
        .unwrap();
    Opened {
        store,
        dir,
        tasks,
        stop,
    }
}

async fn open() -> Opened {
    open_in(tempfile::tempdir().unwrap()).await
}

impl Opened {
    async fn reopen(self) -> Self {
        self.store.close().await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        open_in(self.dir).await
    }

    async fn insert(&self, record: &Workload, program: Option<Program>) -> Result<Written, Error> {
        self.store.write(insertion(record, program)).await
    }
}

fn insertion(record: &Workload, program: Option<Program>) -> Write {
    Write::Insert(Box::new(Insert {
        record: Arc::new(record.clone()),
        is_idempotent: false,
        program: program.map(Arc::new),
        key: None,
    }))
}

fn pending(number: u128) -> Workload {
    Workload {
        image: Some("alpine:3.20".parse().unwrap()),
        id: WorkloadId::generate(Timestamp::from_millis(1_763_000_000_000), number),
        project: "default".to_owned(),
        status: Status::Pending,
        isolation: Isolation::Auto,
        isolation_used: Some(IsolationClass::Sandbox),
        isolation_reason: Some("auto".to_owned()),
        runtime: Runtime::Python,
        node: None,
        input_digest: "00".to_owned(),
        output: None,
        exit_code: None,
        error: None,
        resources: Resources::default(),
        network: Network::None,
        usage: None,
        reuse: Reuse::None,
        start: None,
        queued_ms: None,
        start_ms: None,
        run_ms: None,
        duration_ms: None,
        created_at: Timestamp::from_millis(1_763_000_000_000),
        started_at: None,
        finished_at: None,
        logs_truncated: false,
        labels: BTreeMap::from([("team".to_owned(), "ü\n'\"".to_owned())]),
    }
}

/// Every field that an end sets.
fn failed(number: u128) -> Workload {
    Workload {
        status: Status::Failed,
        node: Some("newt".parse().unwrap()),
        output: Some(json!({"a": [1, 2.5, null, "ü"]})),
        exit_code: Some(137),
        error: Some(WorkloadError {
            stack: Some("at 1".to_owned()),
            ..WorkloadError::new(ErrorCode::Signal, "9")
        }),
        usage: Some(Usage {
            cpu_ms: 1.5,
            mem_peak_mb: None,
        }),
        start: Some(StartKind::Pooled),
        queued_ms: Some(0.25),
        start_ms: Some(1.5),
        run_ms: Some(2.5),
        duration_ms: Some(4.25),
        started_at: Some(Timestamp::from_millis(1_763_000_000_001)),
        finished_at: Some(Timestamp::from_millis(1_763_000_000_005)),
        logs_truncated: true,
        ..pending(number)
    }
}

fn program() -> Program {
    Program {
        image: None,
        runtime: Runtime::Node,
        code: Code::Archive {
            bytes: Bytes::from_static(b"\x1f\x8b\x00"),
            entrypoint: "a.js".to_owned(),
        },
        input: Bytes::from_static(b"null"),
        args: vec!["-v".to_owned()],
        env: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
    }
}

#[tokio::test]
async fn every_field_of_a_record_survives_a_restart() {
    let opened = open().await;
    opened.insert(&pending(1), None).await.unwrap();
    opened.insert(&pending(2), None).await.unwrap();
    opened
        .store
        .write(Write::End {
            record: Arc::new(failed(1)),
            has_program: true,
        })
        .await
        .unwrap();

    let opened = opened.reopen().await;

    assert_eq!(
        opened.store.workload_get(pending(1).id).await.unwrap(),
        Some(failed(1))
    );
    assert_eq!(
        opened.store.workload_get(pending(2).id).await.unwrap(),
        Some(pending(2))
    );
    assert_eq!(opened.store.workload_get(pending(3).id).await.unwrap(), None);
}

#[tokio::test]
async fn records_that_end_before_they_are_written_are_written_whole_whatever_waits_beside_them() {
    let opened = open().await;
    let whole = |number| Write::Whole(Arc::new(failed(number)));
    let mut writes: Vec<_> = (1..=77).map(|number| opened.store.write(whole(number))).collect();
    writes.push(opened.store.write(insertion(&pending(78), None)));
    writes.extend((79..=84).map(|number| opened.store.write(whole(number))));
    for write in writes {
        assert_eq!(write.await.unwrap(), Written::Done);
    }

    let opened = opened.reopen().await;

    for number in (1..=77).chain(79..=84) {
        let record = opened.store.workload_get(failed(number).id).await.unwrap();
        assert_eq!(record, Some(failed(number)));
    }
    assert_eq!(
        opened.store.workload_get(pending(78).id).await.unwrap(),
        Some(pending(78))
    );
}

#[tokio::test]
async fn a_program_is_kept_until_the_end() {
    let opened = open().await;
    opened.insert(&pending(1), Some(program())).await.unwrap();
    let unfinished = opened.store.workload_list_unfinished().await.unwrap();
    assert_eq!(unfinished[0].program, Some(program()));
    assert_eq!(unfinished[0].record, pending(1));

    opened
        .store
        .write(Write::End {
            record: Arc::new(failed(1)),
            has_program: true,
        })
        .await
        .unwrap();

    assert!(opened.store.workload_list_unfinished().await.unwrap().is_empty());
    let left = sqlx::query("SELECT 1 FROM workload_programs")
        .fetch_all(&opened.store.readers)
        .await
        .unwrap();
    assert!(left.is_empty());
}

#[tokio::test]
async fn a_command_in_an_image_is_kept_until_the_end() {
    let opened = open().await;
    let program = Program {
        image: pending(1).image,
        runtime: Runtime::Image,
        code: Code::Image(ImageProgram {
            argv: vec!["ls".to_owned(), "ü \"".to_owned()],
            ..ImageProgram::default()
        }),
        ..program()
    };
    opened.insert(&pending(1), Some(program.clone())).await.unwrap();

    let opened = opened.reopen().await;

    let unfinished = opened.store.workload_list_unfinished().await.unwrap();
    assert_eq!(unfinished[0].program, Some(program));
}

#[tokio::test]
async fn records_from_before_there_were_images_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.db");
    let mut migrator = sqlx::migrate!("./migrations");
    let former = migrator.migrations.iter().filter(|step| step.version < 4);
    migrator.migrations = former.cloned().collect();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true);
    let former = sqlx::SqlitePool::connect_with(options).await.unwrap();
    migrator.run(&former).await.unwrap();
    let id = pending(1).id.to_string();
    for statement in [
        "INSERT INTO workloads (id, project, status, isolation, runtime, generation, idempotent, input_digest, resources,
             network, created_at, logs_truncated)
         VALUES ($1, 'default', 'pending', 'auto', 'node', 0, FALSE, '00',
             '{\"cpus\":1.0,\"mem_mb\":128,\"disk_mb\":64,\"pids\":32,\"timeout_s\":30.0}', 'none', 0, FALSE)",
        "INSERT INTO workload_programs (workload_id, runtime, form, entrypoint, code, input, args, env)
         VALUES ($1, 'node', 'archive', 'a.js', X'1f8b00', CAST('null' AS BLOB), '[\"-v\"]', '{\"A\":\"b\"}')",
    ] {
        sqlx::query(statement).bind(&id).execute(&former).await.unwrap();
    }
    former.close().await;

    let opened = open_in(dir).await;

    let unfinished = opened.store.workload_list_unfinished().await.unwrap();
    assert_eq!(unfinished[0].record.image, None);
    assert_eq!(unfinished[0].program, Some(program()));
}

#[tokio::test]
async fn one_bad_write_spoils_no_other_of_its_commit() {
    let opened = open().await;
    // All are handed over before the writer runs once, and so are one batch.
    let writes: Vec<_> = [1, 2, 2, 3]
        .into_iter()
        .map(|n| opened.store.write(insertion(&pending(n), None)))
        .collect();
    let results = futures::future::join_all(writes).await;

    let ok: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, true, false, true]);
    let page = Page {
        before: None,
        limit: 10,
    };
    assert_eq!(
        opened
            .store
            .workload_list(Filter::default(), page)
            .await
            .unwrap()
            .len(),
        3
    );
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let opened = open().await;
    opened.stop.cancel();
    opened.tasks.close();
    opened.tasks.wait().await;
    assert!(matches!(
        opened.insert(&pending(1), None).await,
        Err(Error::Closed)
    ));
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_an_error_and_no_panic() {
    let opened = open().await;
    opened.insert(&pending(1), None).await.unwrap();
    let path = opened.dir.path().join("control.db");
    let other = sqlx::SqlitePool::connect_with(sqlx::sqlite::SqliteConnectOptions::new().filename(path))
        .await
        .unwrap();
    sqlx::query("UPDATE workloads SET runtime = 'cobol'")
        .execute(&other)
        .await
        .unwrap();
    let error = opened.store.workload_get(pending(1).id).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Row {
                column: "runtime",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error() {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let path = tempfile::tempdir().unwrap().path().join("gone/control.db");
    let result = Store::open(&path, OpenOptions::default(), &tasks, stop).await;
    assert!(matches!(result, Err(Error::Open { .. })));
}
