//! Figures, for people: `cargo nextest run -p vulcan-backend-isolate --run-ignored only --no-capture figures`.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use vulcan_api::{Resources, Runtime};
use vulcan_backend::{Backend as _, Instance, InvokeMode};
use vulcan_backend_isolate::Isolate;

use crate::harness::{options, program, request, run_in};

const ROUNDS: usize = 40;
const JS: &str = "export default (input) => ({ hello: input });";
const TS: &str = "interface I { a: number }\nexport default (input: I | null): object => ({ hello: input });";

fn told(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
    println!(
        "{what:32} min {:7.3}  p50 {:7.3}  p99 {:7.3} ms",
        at(0),
        at(50),
        at(99)
    );
}

async fn blank(isolate: &Isolate) -> (Arc<dyn Instance>, Duration) {
    let begun = Instant::now();
    let request = request(Resources::default(), Some(Runtime::Node));
    (isolate.start(request).await.unwrap(), begun.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures, and decides nothing"]
async fn figures() {
    let isolate = Isolate::new(options()).unwrap();
    let (other, _) = blank(&isolate).await;
    let (mut starts, mut colds) = (Vec::new(), Vec::new());
    for (what, name, code) in [
        ("first JavaScript", "main.js", JS),
        ("first TypeScript", "main.ts", TS),
    ] {
        let mut firsts = Vec::new();
        for _ in 0..ROUNDS {
            let (instance, took) = blank(&isolate).await;
            starts.push(took);
            let begun = Instant::now();
            let ended = run_in(&*instance, program(name, code), InvokeMode::Once).await;
            firsts.push(begun.elapsed());
            assert_eq!(ended.outcome.error, None);
            instance.stop(Duration::ZERO).await.unwrap();
        }
        told(what, firsts);
    }
    told("start of a blank instance", starts);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let instance = isolate.start(request(Resources::default(), None)).await.unwrap();
        run_in(&*instance, program("main.js", JS), InvokeMode::Once).await;
        colds.push(begun.elapsed());
        instance.stop(Duration::ZERO).await.unwrap();
    }
    told("cold: start and first JavaScript", colds);
    let mut warm = Vec::new();
    for _ in 0..1000 {
        let begun = Instant::now();
        let ended = run_in(&*other, program("main.js", JS), InvokeMode::Warm).await;
        warm.push(begun.elapsed());
        assert!(ended.outcome.reusable.is_some());
    }
    told("warm call", warm.split_off(10));
    other.stop(Duration::ZERO).await.unwrap();
    // Libraries are shared by whoever runs them; alone, one would count them as its own.
    let blanks = [
        blank(&isolate).await.0,
        blank(&isolate).await.0,
        blank(&isolate).await.0,
    ];
    print_memory();
    for instance in blanks {
        instance.stop(Duration::ZERO).await.unwrap();
    }
    isolate.close().await;
}

/// Prints the private memory of every Deno that runs here.
fn print_memory() {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let path = entry.path();
        let arguments = std::fs::read_to_string(path.join("cmdline")).unwrap_or_default();
        if !arguments.starts_with("deno\0run") {
            continue;
        }
        let rollup = std::fs::read_to_string(path.join("smaps_rollup")).unwrap_or_default();
        let sum: u64 = rollup
            .lines()
            .filter(|line| line.starts_with("Private_"))
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum();
        let threads = std::fs::read_dir(path.join("task")).map_or(0, Iterator::count);
        println!(
            "{}: {:.1} MB private, {threads} threads",
            path.display(),
            sum as f64 / 1024.0
        );
    }
}
