//! What is this class' own: warm handlers, components, archives, the cache, a share of a processor.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use vulcan_api::{Code, ErrorCode, Program, Resources, Runtime};
use vulcan_backend::{Backend, Instance, InvokeMode, Outcome};

use crate::{
    archive::archive,
    harness::{ACTS, HANDLERS, command, handler, program},
    stage::{Stage, begin, call},
};

const RUN: &str = include_str!("../modules/run.wat");

async fn warm(instance: &std::sync::Arc<dyn Instance>, mut program: Program, input: &str) -> Outcome {
    program.input = input.to_owned().into();
    call(instance, program, InvokeMode::Warm).await.0.unwrap()
}

fn counted(outcome: &Outcome) -> Option<&Value> {
    assert_eq!(outcome.reusable.map(u16::from), Some(1));
    outcome.output.as_ref()
}

#[test]
fn checked_in_modules_are_what_their_sources_were_built_to() {
    let sums = include_str!("../modules/SHA256SUMS");
    let files: [(&str, &[u8]); 4] = [
        ("acts.c", include_bytes!("../modules/acts.c")),
        ("acts.wasm", ACTS),
        ("handlers.c", include_bytes!("../modules/handlers.c")),
        ("handlers.wasm", HANDLERS),
    ];
    for (name, bytes) in files {
        let sum: String = Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert!(
            sums.contains(&format!("{sum}  {name}\n")),
            "{name} changed: run tests/modules/build.sh"
        );
    }
}

#[tokio::test]
async fn what_can_be_done_ahead_is_declared() {
    let stage = Stage::new();
    let capabilities = stage.wasm.capabilities();

    let readying = capabilities.readying(Runtime::Wasm).unwrap();

    assert_eq!(
        (readying.blank, readying.warm, readying.forked),
        (None, true, false)
    );
    assert!(!capabilities.outlives_server);
}

#[tokio::test]
async fn a_warm_handler_keeps_its_memory_from_call_to_call() {
    let stage = Stage::new();
    let instance = stage.start(Resources::default()).await;

    for number in 1..=3 {
        let outcome = warm(&instance, handler("count", ""), "null").await;
        assert_eq!(counted(&outcome), Some(&json!(number)));
    }

    instance.stop(Duration::ZERO).await.unwrap();
    stage.expect_empty();
}

#[tokio::test]
async fn a_failure_in_words_keeps_what_is_loaded() {
    let stage = Stage::new();
    let instance = stage.start(Resources::default()).await;
    warm(&instance, handler("count", ""), "null").await;

    let failed = warm(&instance, handler("count", ""), "\"fail\"").await;
    let next = warm(&instance, handler("count", ""), "null").await;

    assert_eq!(failed.error.as_ref().unwrap().message, "on purpose");
    assert_eq!(counted(&failed), None);
    assert_eq!(counted(&next), Some(&json!(3)));
}

#[tokio::test]
async fn what_a_trap_leaves_behind_is_seen_by_no_call() {
    let stage = Stage::new();
    let instance = stage.start(Resources::default()).await;
    warm(&instance, handler("count", ""), "null").await;

    let trapped = warm(&instance, handler("count", ""), "\"trap\"").await;
    let next = warm(&instance, handler("count", ""), "null").await;

    assert_eq!(trapped.error.as_ref().unwrap().code, ErrorCode::Exception);
    assert_eq!(counted(&trapped), None);
    assert_eq!(counted(&next), Some(&json!(1)));
}

#[tokio::test]
async fn a_warm_call_that_never_ends_is_stopped() {
    let stage = Stage::new();
    let instance = stage.start(Resources::default()).await;
    warm(&instance, handler("count", ""), "null").await;
    let spinning = Program {
        input: "\"spin\"".into(),
        ..handler("count", "")
    };
    let mut run = begin(&instance, spinning, InvokeMode::Warm);
    assert_eq!(run.wait_for_output().await.bytes, "ready\n");

    run.expect_stop().await;

    stage.expect_empty();
}

#[tokio::test]
async fn a_program_without_a_handler_runs_once_when_it_is_called_warm() {
    let stage = Stage::new();
    let instance = stage.start(Resources::default()).await;

    for program in [command("exit", 0, ""), program("main.wat", RUN, &[])] {
        let outcome = warm(&instance, program, "null").await;
        assert_eq!((outcome.error, outcome.reusable), (None, None));
    }
}

#[tokio::test]
async fn a_handler_that_cannot_be_loaded_leaves_nothing_loaded() {
    let stage = Stage::new();
    let instance = stage.start(Resources::default()).await;
    let broken = r#"(module (memory (export "memory") 1)
        (func (export "_initialize") unreachable)
        (func (export "alloc") (param i32) (result i32) (i32.const 0))
        (func (export "handler") (param i32 i32) (result i64) (i64.const 0)))"#;

    for text in ["(module)", broken] {
        let outcome = warm(&instance, program("main.wat", text, &[]), "null").await;
        assert!(outcome.error.is_some());
        assert_eq!(outcome.reusable, None);
    }
}

#[tokio::test]
async fn every_call_writes_to_its_own_log() {
    let stage = Stage::new();
    let instance = stage.start(Resources::default()).await;
    for _ in 0..3 {
        let (outcome, written) = call(&instance, handler("log", ""), InvokeMode::Warm).await;
        assert_eq!(outcome.unwrap().output, Some(Value::Null));
        assert_eq!(written, "to stdout\n");
    }
}

#[tokio::test]
async fn a_component_runs_as_a_command() {
    let stage = Stage::new();

    let (outcome, written) = stage.run(program("main.wat", RUN, &[])).await;

    assert_eq!(outcome.error, None);
    assert_eq!(outcome.output, Some(json!({"from": "component"})));
    assert_eq!(written, "{\"from\":\"component\"}\n");
    stage.expect_empty();
}

#[tokio::test]
async fn files_of_an_archive_lie_in_the_working_directory() {
    let stage = Stage::new();
    for path in ["/work/data/text", "data/text"] {
        let mut program = command("read_file", path, "");
        program.code = Code::Archive {
            bytes: archive(&[("bin/main.wasm", ACTS), ("data/text", b"[\"from the archive\"]")]),
            entrypoint: "bin/main.wasm".to_owned(),
        };

        let (outcome, _) = stage.run(program).await;

        assert_eq!(outcome.output, Some(json!(["from the archive"])), "{path}");
    }
}

#[tokio::test]
async fn what_one_instance_changes_in_a_file_of_the_archive_no_other_sees() {
    let stage = Stage::new();
    let bytes = archive(&[("main.wasm", ACTS), ("text", b"\"as it came\"")]);
    let with = |mut program: Program| {
        program.code = Code::Archive {
            bytes: bytes.clone(),
            entrypoint: "main.wasm".to_owned(),
        };
        program
    };

    let (written, _) = stage.run(with(command("write_file", "text", "changed"))).await;
    let (read, _) = stage.run(with(command("read_file", "text", ""))).await;

    assert_eq!(written.error, None);
    assert_eq!(read.output, Some(json!("as it came")));
}

#[tokio::test]
async fn files_do_what_posix_says() {
    let stage = Stage::new();
    let (outcome, written) = stage.run(command("files", "", "")).await;
    assert_eq!(outcome.error, None, "{written}");
    assert_eq!(
        outcome.output,
        Some(json!("every file did as it should")),
        "{written}"
    );
}

#[tokio::test]
async fn a_compiled_module_is_found_by_the_next_server() {
    let stage = Stage::new();
    stage.run(command("exit", 0, "")).await;
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let kept = artefacts(&stage);
    for path in &kept {
        std::fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
    }

    let next = next_server(&stage);
    let (outcome, _) = next.run(command("exit", 3, "")).await;

    assert_eq!(kept.len(), 1);
    assert_eq!(outcome.error.unwrap().code, ErrorCode::ExitCode);
    // Whatever is used is marked as such; a module that is compiled again would be a new file.
    let used = std::fs::metadata(&kept[0]).unwrap().modified().unwrap();
    assert!(used > long_ago);
}

#[tokio::test]
async fn a_compiled_module_that_was_tampered_with_is_compiled_again() {
    let stage = Stage::new();
    stage.run(command("exit", 0, "")).await;
    let path = artefacts(&stage).remove(0);
    let good = std::fs::read(&path).unwrap();
    let middle = good.len() / 2;
    let mut changed = good.clone();
    changed[middle] ^= 0xff;
    std::fs::write(&path, &changed).unwrap();

    let (outcome, _) = next_server(&stage).run(command("exit", 0, "")).await;

    assert_eq!(outcome.error, None);
    let now = std::fs::read(&path).unwrap();
    assert_eq!((now.len(), now[middle]), (good.len(), good[middle]));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_costs_only_the_cache() {
    let stage = Stage::with(|options| options.cache_dir = Some("/proc/no/such/folder".into()));
    let (outcome, _) = stage.run(command("exit", 0, "")).await;
    assert_eq!(outcome.error, None);
}

#[tokio::test]
async fn a_share_of_a_processor_is_no_more_than_that() {
    let stage = Stage::new();
    let resources = Resources {
        cpus: 0.25,
        ..Resources::default()
    };
    let instance = stage.start(resources).await;
    let begun = Instant::now();

    let (outcome, _) = call(&instance, command("spin_for", 200, ""), InvokeMode::Once).await;

    assert_eq!(outcome.unwrap().error, None);
    let used = Duration::from_secs_f64(instance.usage().await.unwrap().cpu_ms / 1e3);
    // A quarter, and a period to begin with.
    let allowed = begun.elapsed().mul_f64(0.25) + Duration::from_millis(100);
    assert!(used <= allowed, "used {used:?} of {allowed:?}");
    assert!(used >= Duration::from_millis(190), "{used:?}");
}

#[tokio::test]
async fn more_instances_than_slots_are_refused_and_no_error_of_the_program() {
    let stage = Stage::with(|options| options.slots_max = 1);
    let instance = stage.start(Resources::default()).await;

    let refused = stage
        .wasm
        .start(crate::stage::request(Resources::default()))
        .await;

    let error = refused.err().unwrap();
    assert_eq!(error.disposition(), vulcan_backend::Disposition::RetryHere);
    instance.stop(Duration::ZERO).await.unwrap();
    stage.start(Resources::default()).await;
}

#[tokio::test]
async fn an_instance_that_is_dropped_gives_its_slot_back() {
    let stage = Stage::new();
    let mut run = stage.begin(command("spin", "", "")).await;
    run.wait_for_output().await;

    run.abandon().await;

    crate::stage::poll(|| stage.wasm.occupancy().instances == 0 && stage.wasm.occupancy().memories == 0)
        .await;
}

#[tokio::test]
async fn a_closed_backend_has_no_threads() {
    let stage = Stage::new();
    stage.run(command("exit", 0, "")).await;

    stage.wasm.close().await;

    let refused = stage
        .wasm
        .start(crate::stage::request(Resources::default()))
        .await;
    assert!(refused.is_err());
    crate::stage::poll(|| threads_named("vulcan-wasm").is_empty()).await;
}

fn threads_named(prefix: &str) -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with(prefix)).collect()
}

fn artefacts(stage: &Stage) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(stage.folder.path().join("cache"))
        .unwrap()
        .flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "cwasm"))
        .collect()
}

/// Returns another backend over the same folder.
fn next_server(stage: &Stage) -> Stage {
    let cache = stage.folder.path().join("cache");
    Stage::with(|options| options.cache_dir = Some(cache))
}

/// One process can hold several.
#[tokio::test]
async fn backends_side_by_side_do_not_disturb_each_other() {
    let (one, other) = (Stage::new(), Stage::new());
    let mut run = one.begin(command("spin", "", "")).await;
    run.wait_for_output().await;

    let (outcome, _) = other.run(command("exit", 0, "")).await;

    assert_eq!(outcome.error, None);
    run.expect_stop().await;
}
