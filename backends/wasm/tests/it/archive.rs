//! Archives for tests.

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

/// Makes a tar.gz archive of files.
pub(crate) fn archive(files: &[(&str, &[u8])]) -> Bytes {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap().into()
}
