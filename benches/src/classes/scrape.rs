//! The server's own counts, as a check of what a load generator says.

use vulcan_api::{IsolationClass, StartKind};
use vulcan_client::Client;

use crate::context::{Context as _, Failure};

/// Returns how many blank instances a class has now.
///
/// # Errors
///
/// When the server does not answer.
pub(super) async fn blank_count(client: &Client, isolation: IsolationClass) -> Result<f64, Failure> {
    let text = client.metrics().await.doing("read the server's counts")?;
    let class = format!("isolation=\"{isolation}\"");
    let blank = text.lines().filter(|line| {
        line.starts_with("vulcan_pool_instances{")
            && line.contains(&class)
            && line.contains("state=\"blank\"")
    });
    Ok(blank.map(value).sum())
}

fn value(line: &str) -> f64 {
    line.rsplit(' ')
        .next()
        .and_then(|value| value.parse().ok())
        .unwrap_or(0.0)
}

/// What the server counted until now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Counts {
    /// Workloads of one class that completed.
    pub(super) completed: f64,
    /// Workloads of it that ended otherwise.
    pub(super) failed: f64,
    /// Instances of it that were started in the wanted way.
    pub(super) started_so: f64,
}

impl Counts {
    /// Asks the server.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub(super) async fn now(
        client: &Client,
        isolation: IsolationClass,
        start: StartKind,
    ) -> Result<Self, Failure> {
        let text = client.metrics().await.doing("read the server's counts")?;
        Ok(Self::of(&text, isolation, start))
    }

    fn of(text: &str, isolation: IsolationClass, start: StartKind) -> Self {
        let class = format!("isolation=\"{isolation}\"");
        let start = format!("start=\"{}\"", start.as_str());
        let mut counts = Self::default();
        for line in text.lines().filter(|line| line.contains(&class)) {
            let value = value(line);
            if line.starts_with("vulcan_workloads_total{") {
                if line.contains("status=\"completed\"") {
                    counts.completed += value;
                } else {
                    counts.failed += value;
                }
            } else if line.starts_with("vulcan_start_seconds_count{") && line.contains(&start) {
                counts.started_so += value;
            }
        }
        counts
    }

    /// Returns what was counted since an earlier time.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            completed: self.completed - earlier.completed,
            failed: self.failed - earlier.failed,
            started_so: self.started_so - earlier.started_so,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_class_and_the_start_count() {
        let text = "\
vulcan_workloads_total{isolation=\"isolate\",runtime=\"node\",status=\"completed\"} 90
vulcan_workloads_total{isolation=\"isolate\",runtime=\"node\",status=\"failed\"} 2
vulcan_workloads_total{isolation=\"wasm\",runtime=\"wasm\",status=\"completed\"} 7
vulcan_start_seconds_count{isolation=\"isolate\",runtime=\"node\",start=\"warm\"} 80
vulcan_start_seconds_count{isolation=\"isolate\",runtime=\"node\",start=\"cold\"} 10
";
        let counts = Counts::of(text, IsolationClass::Isolate, StartKind::Warm);
        let expected = Counts {
            completed: 90.0,
            failed: 2.0,
            started_so: 80.0,
        };
        assert_eq!(counts, expected);
        assert_eq!(counts.since(counts), Counts::default());
    }
}
