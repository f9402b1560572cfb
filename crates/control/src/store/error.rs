//! Why something could not be stored or read.

use std::{path::PathBuf, sync::Arc};

/// Why something could not be stored or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The database could not be opened or brought to the current schema.
    #[error("the database {} could not be opened", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// SQLite's word.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The disk, or the size that the database may have, is used up.
    #[error("the database has no space left")]
    Full {
        /// SQLite's word.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// SQLite refused.
    #[error("the database refused")]
    Database {
        /// SQLite's word.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// A stored value is none that this version writes.
    #[error("the record of {id} holds a {column} that cannot be read")]
    Row {
        /// Whose record.
        id: String,
        /// Which column.
        column: &'static str,
    },
    /// More writes wait than the writer takes.
    #[error("too many writes are waiting")]
    Busy,
    /// The writer has ended.
    #[error("the database is closed")]
    Closed,
}

impl From<sqlx::Error> for Error {
    fn from(source: sqlx::Error) -> Self {
        // SQLITE_FULL, see https://www.sqlite.org/rescode.html#full.
        const FULL: &str = "13";
        let is_full = source
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .is_some_and(|code| code == FULL);
        let source = Arc::new(source);
        if is_full {
            Self::Full { source }
        } else {
            Self::Database { source }
        }
    }
}
