//! What a hostile program can say to the host in the agent's name: nothing that counts.

use vulcan_api::Resources;
use vulcan_guest_protocol::ExitStatus;

use crate::conformance::{
    Act, Ended, Ending, Stage, Verdict,
    archive::{Entry, tar_gz},
};

/// Frames of the guest protocol, written to every descriptor that a program has, change nothing of its end.
pub async fn forged_frames_change_nothing(stage: &Stage) -> Verdict {
    for ending in [Ending::Crash, Ending::Seven] {
        let ended = stage.run(Act::ForgeFrames(ending)).await?;

        expect_the_truth(&ended, ending);
        let system = String::from_utf8_lossy(&ended.logs.system);
        assert!(!system.contains("forged"), "the platform says: {system}");
    }
    Ok(())
}

/// A result that is claimed before a crash does not make the crash a success.
pub async fn a_claimed_result_does_not_hide_the_end(stage: &Stage) -> Verdict {
    for ending in [Ending::Crash, Ending::Seven] {
        let ended = stage.run(Act::ForgeResult(ending)).await?;

        expect_the_truth(&ended, ending);
    }
    Ok(())
}

/// An archive whose entries climb, link, or are devices changes nothing outside of the instance.
pub async fn a_hostile_archive_stays_inside(stage: &Stage) -> Verdict {
    let canary = stage.bait().await.at("CANARY").to_owned();
    let folder = canary
        .rsplit_once('/')
        .map_or("/", |(folder, _)| folder)
        .to_owned();
    let climbing = format!("../../../../../../..{canary}");
    let hostile: [&[(&str, Entry<'_>)]; 7] = [
        &[(&climbing, Entry::File(b"changed"))],
        &[(&canary, Entry::File(b"changed"))],
        &[
            ("out", Entry::Link(&folder)),
            ("out/canary", Entry::File(b"changed")),
        ],
        &[("out", Entry::Link(&canary)), ("out", Entry::File(b"changed"))],
        &[
            ("hard", Entry::HardLink(&canary)),
            ("hard", Entry::File(b"changed")),
        ],
        &[("fifo", Entry::Fifo)],
        &[("disk", Entry::BlockDevice)],
    ];
    for entries in hostile {
        let mut program = stage.program(Act::Exit(0))?;
        let main = program.code.bytes().clone();
        let entrypoint = program.code.entrypoint().to_owned();
        let all: Vec<_> = entries
            .iter()
            .copied()
            .chain([(entrypoint.as_str(), Entry::File(&main))])
            .collect();
        program.code = vulcan_api::Code::Archive {
            bytes: tar_gz(&all).into(),
            entrypoint: entrypoint.clone(),
        };

        let ended = stage.run_program(program, Resources::default()).await;

        let result = ended
            .result
            .map(|outcome| outcome.error)
            .map_err(|error| error.to_string());
        stage.note(format!("{entries:?}: {result:?}"));
        stage.bait().await.expect_untouched().await;
    }
    Ok(())
}

/// Whatever was forged: the end is the program's true one, or the instance was given up; never a success.
fn expect_the_truth(ended: &Ended, ending: Ending) {
    assert!(
        !ended.is_success(),
        "a forgery made a success: {:?}",
        ended.result
    );
    if let Ok(outcome) = &ended.result {
        let truth = match ending {
            Ending::Crash => ExitStatus::Signal(11),
            Ending::Seven => ExitStatus::Code(7),
        };
        assert_eq!(outcome.status, truth, "{outcome:?}");
    }
}
