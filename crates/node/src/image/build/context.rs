//! The context of a build: received, unpacked, and without what does not count.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use vulcan_api::ProblemKind;
use vulcan_bus::{ImageResult, UploadPiece};

use super::{
    dockerfile::FILE_BYTES_MAX,
    ignore::Ignore,
    merged::{Found, Merged},
};
use crate::image::{
    Images, Meaning, Scratch,
    problem::{blocking, disk, problem, refuse, unpacking},
    unpack,
};

/// A context that is here. Gone when it is dropped.
pub(super) struct Context {
    scratch: Scratch,
    /// The text of the file that says what to build.
    pub(super) file: String,
}

impl Context {
    /// Returns where it is.
    pub(super) fn folder(&self) -> PathBuf {
        self.scratch.path().join("context")
    }
}

impl Images {
    /// Receives a context and unpacks it, by the rules and limits of layers. `file` is read from it, and what
    /// `.dockerignore` names is taken away.
    pub(super) async fn receive_context(
        &self,
        pieces: mpsc::Receiver<UploadPiece>,
        file: &str,
    ) -> ImageResult<Context> {
        let scratch = self.scratch()?;
        let archive = receive(
            pieces,
            &scratch.path().join("upload"),
            self.setup.options.unpacked_bytes_max,
        )
        .await?;
        let stop = CancellationToken::new();
        let _stop_when_dropped = stop.clone().drop_guard();
        let (limits, file) = (self.limits(), file.to_owned());
        blocking(move || {
            let folder = scratch.path().join("context");
            fs::create_dir(&folder).map_err(|error| disk("make", &folder, &error))?;
            let opened = File::open(&archive).map_err(|error| disk("read", &archive, &error))?;
            unpack(opened, &folder, Meaning::Plain, limits, &stop)
                .map_err(|error| unpacking("the context", &error))?;
            fs::remove_file(&archive).map_err(|error| disk("remove", &archive, &error))?;
            let text = read(&folder, &file)?.ok_or_else(|| {
                problem(
                    ProblemKind::ImageBuildFailed,
                    format!("the context has no file '{file}'"),
                )
            })?;
            let ignore = match read(&folder, &format!("{file}.dockerignore"))? {
                Some(own) => Some(own),
                None => read(&folder, ".dockerignore")?,
            };
            let ignore = ignore.map_or_else(Ignore::default, |text| Ignore::parse(&text));
            if !ignore.is_empty() {
                leave_out(&folder, &ignore).map_err(|error| disk("change", &folder, &error))?;
            }
            Ok(Context { scratch, file: text })
        })
        .await
    }
}

/// Writes what arrives to a file.
async fn receive(
    mut pieces: mpsc::Receiver<UploadPiece>,
    path: &Path,
    bytes_max: u64,
) -> ImageResult<PathBuf> {
    let failed = |error: io::Error| disk("write", path, &error);
    let mut file = tokio::fs::File::from_std(File::create_new(path).map_err(failed)?);
    let mut bytes = 0_u64;
    loop {
        match pieces.recv().await {
            Some(UploadPiece::Bytes(piece)) => {
                bytes += piece.len() as u64;
                if bytes > bytes_max {
                    return refuse(
                        ProblemKind::ImageInvalid,
                        format!(
                            "the context is larger than {bytes_max} bytes: leave files out with .dockerignore"
                        ),
                    );
                }
                tokio::io::AsyncWriteExt::write_all(&mut file, &piece)
                    .await
                    .map_err(failed)?;
            }
            Some(UploadPiece::End) => break,
            None => {
                return refuse(
                    ProblemKind::ImageInvalid,
                    "the context broke off before its end; send it again",
                );
            }
        }
    }
    tokio::io::AsyncWriteExt::flush(&mut file).await.map_err(failed)?;
    Ok(path.to_owned())
}

/// Reads a text of the context; `None` where it is not there.
fn read(folder: &Path, file: &str) -> ImageResult<Option<String>> {
    read_text(&[folder.to_owned()], file, FILE_BYTES_MAX).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::FileTooLarge => problem(
            ProblemKind::ImageBuildFailed,
            format!("'{file}' cannot be used: {error}"),
        ),
        _ => disk("read", Path::new(file), &error),
    })
}

/// Reads a text out of layers, the lowest first; `None` where there is no such file.
pub(super) fn read_text(layers: &[PathBuf], file: &str, bytes_max: u64) -> io::Result<Option<String>> {
    let layers = Merged::open(layers)?;
    let path = layers.resolve(Path::new(file))?;
    let Some(found) = layers.find(&path)?.filter(|found| found.kind().is_file()) else {
        return Ok(None);
    };
    if found.stat.st_size.unsigned_abs() > bytes_max {
        let message = format!("it is longer than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    let mut text = String::new();
    layers.read(&found)?.take(bytes_max).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Removes what is ignored; folders only when nothing in them is kept.
fn leave_out(folder: &Path, ignore: &Ignore) -> io::Result<()> {
    let context = Merged::open(&[folder.to_owned()])?;
    for found in context.list(Path::new(""))?.values() {
        leave_out_of(&context, folder, found, ignore)?;
    }
    Ok(())
}

fn leave_out_of(context: &Merged, folder: &Path, found: &Found, ignore: &Ignore) -> io::Result<()> {
    if found.is_folder() {
        for inner in context.list(&found.path)?.values() {
            leave_out_of(context, folder, inner, ignore)?;
        }
    }
    if !ignore.is_ignored(&found.path.to_string_lossy()) {
        return Ok(());
    }
    // The path has no links: it was walked from the top, in a folder that is ours alone.
    let path = folder.join(&found.path);
    if found.is_folder() {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => removed,
        }
    } else {
        fs::remove_file(path)
    }
}
