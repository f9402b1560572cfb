//! The disk quota bites, whatever it is filled with.

use vulcan_api::Resources;

use crate::conformance::{Act, Stage, Verdict};

const DISK_MB: u32 = 16;
const FAR_TOO_MUCH_MIB: u32 = 64;
/// What a quota of 16 MiB should never hold, and what is quickly tried.
const INODES_MAX: u32 = 300_000;

/// Memory is no limit here: what is written counts as memory too in some classes.
const SMALL_DISK: Resources = Resources {
    cpus: 1.0,
    mem_mb: 512,
    disk_mb: DISK_MB,
    pids: 64,
    timeout_s: 30.0,
};

/// Files in the working directory.
pub async fn files_in_the_working_directory_are_limited(stage: &Stage) -> Verdict {
    filled(stage, "/work").await
}

/// Files in /tmp.
pub async fn files_in_tmp_are_limited(stage: &Stage) -> Verdict {
    filled(stage, "/tmp").await
}

/// Files in /dev/shm.
pub async fn files_in_shm_are_limited(stage: &Stage) -> Verdict {
    filled(stage, "/dev/shm").await
}

/// Reserved space counts as used space does.
pub async fn reserved_space_is_limited(stage: &Stage) -> Verdict {
    let act = Act::Fallocate {
        mib: FAR_TOO_MUCH_MIB,
    };

    let ended = stage.run_with(act, SMALL_DISK).await?;

    assert_eq!(
        ended.output(),
        &serde_json::json!(false),
        "more was reserved than there is"
    );
    Ok(())
}

/// A file with a hole takes no space, on the host neither, whatever its length says.
pub async fn a_sparse_file_takes_no_space(stage: &Stage) -> Verdict {
    let ended = stage.run_with(Act::SparseFile { gib: 1024 }, SMALL_DISK).await?;

    assert!(ended.output().is_boolean());
    Ok(())
}

/// Empty files are limited, by the quota or by memory.
pub async fn the_number_of_files_is_limited(stage: &Stage) -> Verdict {
    let ended = stage
        .run_with(Act::CountInodes { most: INODES_MAX }, SMALL_DISK)
        .await?;

    if ended.is_success() {
        let count = ended.count();
        assert!(
            count < u64::from(INODES_MAX),
            "{count} files within {DISK_MB} MiB"
        );
    }
    Ok(())
}

/// Folders inside folders, deeper than any path can name, are gone afterwards.
pub async fn deep_folders_do_not_stay(stage: &Stage) -> Verdict {
    let ended = stage.run_with(Act::DeepFolders(2_000), SMALL_DISK).await?;

    assert!(ended.count() > 0);
    Ok(())
}

async fn filled(stage: &Stage, folder: &str) -> Verdict {
    let act = Act::FillFolder {
        folder: folder.to_owned(),
        mib: FAR_TOO_MUCH_MIB,
    };

    let written = stage.run_with(act, SMALL_DISK).await?.count();

    assert!(
        written <= u64::from(DISK_MB),
        "{written} MiB in {folder} of a {DISK_MB} MiB disk"
    );
    assert!(
        written >= u64::from(DISK_MB) / 4,
        "only {written} MiB in {folder} of a {DISK_MB} MiB disk"
    );
    Ok(())
}
