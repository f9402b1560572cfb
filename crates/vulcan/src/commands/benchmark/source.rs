//! Where the record of a benchmark comes from: the server, or a file that `--json` wrote.

use std::{fmt, fs::File, io::Read as _, path::PathBuf, str::FromStr, time::Duration};

use vulcan_api::{Benchmark, BenchmarkId};

use crate::{
    commands::Context,
    failure::{Exit, Failure},
    server,
};

/// The largest file that is read, in bytes: far above any record.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Names a benchmark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// One that a server keeps.
    Id(BenchmarkId),
    /// One that somebody keeps.
    File(PathBuf),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with(BenchmarkId::PREFIX) && !text.contains(['/', '.']) {
            return text
                .parse()
                .map(Self::Id)
                .map_err(|error: vulcan_api::IdError| error.to_string());
        }
        Ok(Self::File(text.into()))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl Source {
    /// Reads the record.
    ///
    /// # Errors
    ///
    /// A [`Failure`] that names the benchmark.
    pub(crate) async fn read(&self, context: &Context) -> Result<Benchmark, Failure> {
        match self {
            Self::Id(id) => {
                let client = server::named_or_default(context.global.server.as_ref())?;
                let record = client.benchmark_get(*id, Duration::ZERO).await;
                record.map_err(|error| Failure::client(&format!("show {id}"), &error))
            }
            Self::File(path) => {
                let action = format!("read the benchmark in {}", path.display());
                let mut text = String::new();
                let read =
                    File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
                read.map_err(|error| Failure::from_error(Exit::USAGE, &action, &error))?;
                serde_json::from_str(&text).map_err(|error| {
                    Failure::from_error(Exit::USAGE, &action, &error).hint(
                        "give an id of `vulcan benchmark ls`, or what `vulcan benchmark --json` printed",
                    )
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_told_from_a_file() {
        let id = "bm_01JKQX7V8MZRN3B4HTGFWDCS9E";
        assert_eq!(id.parse(), Ok(Source::Id(id.parse().unwrap())));
        for file in ["before.json", "./bm_1", "bm_before.json"] {
            assert_eq!(file.parse(), Ok(Source::File(file.into())), "{file}");
        }
        assert!("bm_1".parse::<Source>().is_err());
    }
}
