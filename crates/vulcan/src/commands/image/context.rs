//! The context of a build: finding its file, and packing the folder.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Seek, Write},
    os::unix::fs::PermissionsExt,
    path::{Component, Path},
};

use super::ignore::Ignore;
use crate::failure::Failure;

/// The files that are built from where none is named, in this order.
const FILES: [&str; 2] = ["Dockerfile", "vulcan.toml"];

/// Finds the Dockerfile or the recipe, and returns its path inside the context.
pub(super) fn file(context: &Path, named: Option<&Path>) -> Result<String, Failure> {
    let Some(named) = named else {
        let found = FILES.into_iter().find(|name| context.join(name).is_file());
        return found.map(str::to_owned).ok_or_else(|| {
            Failure::usage(format!(
                "could not tell what to build: {} has neither of {}",
                context.display(),
                FILES.join(", ")
            ))
            .hint("name the file with --file")
        });
    };
    let whole = |path: &Path| fs::canonicalize(path).ok();
    // As seen from here; a path as seen from the context is understood as well.
    let place = whole(named).or_else(|| whole(&context.join(named)));
    let inside = whole(context).zip(place).and_then(|(context, file)| {
        let inside = file.strip_prefix(&context).ok()?;
        inside.to_str().map(str::to_owned)
    });
    inside.ok_or_else(|| {
        Failure::usage(format!(
            "could not use {}: it is no file inside of {}",
            named.display(),
            context.display()
        ))
    })
}

/// Packs a folder into a file without a name: sorted, without times and owners, and without what `.dockerignore` leaves out,
/// `file` excepted. Links stay links; sockets, pipes and devices are left out.
pub(super) fn pack(context: &Path, file: &str) -> io::Result<File> {
    let ignore = Ignore::read(context, file)?;
    let mut builder = tar::Builder::new(BufWriter::new(tempfile::tempfile()?));
    folder(&mut builder, context, Path::new(""), &ignore)?;
    let mut file = builder
        .into_inner()?
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(file)
}

fn folder(
    builder: &mut tar::Builder<impl Write>,
    root: &Path,
    relative: &Path,
    ignore: &Ignore,
) -> io::Result<()> {
    let named =
        |error: io::Error, path: &Path| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let path = root.join(relative);
    let entries = fs::read_dir(&path).map_err(|error| named(error, &path))?;
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    for name in names {
        let relative = relative.join(name);
        let path = root.join(&relative);
        entry(builder, root, &relative, ignore).map_err(|error| named(error, &path))?;
    }
    Ok(())
}

fn entry(
    builder: &mut tar::Builder<impl Write>,
    root: &Path,
    relative: &Path,
    ignore: &Ignore,
) -> io::Result<()> {
    let path = root.join(relative);
    let meta = fs::symlink_metadata(&path)?;
    let kind = meta.file_type();
    let is_out = ignore.leaves_out(&parts(relative));
    if kind.is_dir() {
        if is_out && !ignore.has_exceptions() {
            return Ok(());
        }
        if !is_out {
            let mut header = header(tar::EntryType::Directory, &meta, 0);
            builder.append_data(&mut header, relative, io::empty())?;
        }
        return folder(builder, root, relative, ignore);
    }
    if is_out {
        return Ok(());
    }
    if kind.is_symlink() {
        let mut header = header(tar::EntryType::Symlink, &meta, 0);
        return builder.append_link(&mut header, relative, fs::read_link(&path)?);
    }
    if kind.is_file() {
        let file = File::open(&path)?;
        let size = file.metadata()?.len();
        let mut header = header(tar::EntryType::Regular, &meta, size);
        // A file that grows while it is read must not break the archive.
        return builder.append_data(&mut header, relative, io::Read::take(file, size));
    }
    Ok(())
}

fn header(kind: tar::EntryType, meta: &fs::Metadata, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(meta.permissions().mode() & 0o7777);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn parts(path: &Path) -> Vec<String> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => None,
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_context_is_packed_without_what_is_left_out_and_always_with_its_file() {
        let context = tempfile::tempdir().unwrap();
        let root = context.path();
        fs::create_dir_all(root.join("node_modules/a")).unwrap();
        fs::create_dir_all(root.join("src")).unwrap();
        for name in [
            "node_modules/a/x.js",
            "src/main.py",
            "src/main.pyc",
            "src/keep.pyc",
            "Dockerfile",
        ] {
            fs::write(root.join(name), name).unwrap();
        }
        fs::write(
            root.join(".dockerignore"),
            "# words\nnode_modules\n**/*.pyc\n!src/keep.pyc\nDockerfile\n",
        )
        .unwrap();
        symlink("main.py", root.join("src/link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();

        let packed = pack(root, "Dockerfile").unwrap();

        let mut archive = tar::Archive::new(packed);
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(
            names,
            [
                ".dockerignore",
                "Dockerfile",
                "src",
                "src/keep.pyc",
                "src/link",
                "src/main.py"
            ]
        );
    }

    #[test]
    fn the_file_is_found_inside_of_its_context() {
        let context = tempfile::tempdir().unwrap();
        let root = context.path();
        assert!(file(root, None).is_err());
        fs::write(root.join("vulcan.toml"), "").unwrap();
        assert_eq!(file(root, None).unwrap(), "vulcan.toml");
        fs::write(root.join("Dockerfile"), "").unwrap();
        assert_eq!(file(root, None).unwrap(), "Dockerfile");
        fs::create_dir(root.join("sub")).unwrap();
        fs::write(root.join("sub/web"), "").unwrap();
        assert_eq!(file(root, Some(Path::new("sub/web"))).unwrap(), "sub/web");
        assert_eq!(file(root, Some(&root.join("sub/web"))).unwrap(), "sub/web");
        assert!(file(&root.join("sub"), Some(&root.join("Dockerfile"))).is_err());
    }
}
