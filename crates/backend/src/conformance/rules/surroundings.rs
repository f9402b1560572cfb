//! What a program sees around it: nothing of the host's, and nothing of another program's.

use serde_json::json;
use vulcan_api::Resources;

use crate::conformance::{
    Act, Stage, Verdict,
    stage::{random, stop},
};

/// Variables that say nothing of the host, and that runtimes set by themselves.
const HARMLESS: &[&str] = &[
    "PATH", "HOME", "PWD", "OLDPWD", "SHLVL", "_", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TMPDIR",
    "TERM", "USER", "LOGNAME", "SHELL", "TZ", "HOSTNAME",
];

/// Nothing of the environment of the node's process arrives; what is there beside the program's own has a known name.
pub async fn the_hosts_environment_does_not_arrive(stage: &Stage) -> Verdict {
    let host: Vec<(String, String)> = std::env::vars()
        .filter(|(name, value)| !HARMLESS.contains(&name.as_str()) && !value.is_empty())
        .collect();
    assert!(
        !host.is_empty(),
        "the test would see nothing: its own environment is empty"
    );

    let ended = stage.run(Act::PrintEnv).await?;

    let seen = ended.output().as_object().expect("the environment is an object");
    for (name, value) in seen {
        let is_the_hosts = host
            .iter()
            .any(|(n, v)| n == name && Some(v.as_str()) == value.as_str());
        assert!(!is_the_hosts, "{name} came from the host");
        let is_known = HARMLESS.contains(&name.as_str())
            || ["PYTHON", "NODE_", "VULCAN_"]
                .iter()
                .any(|prefix| name.starts_with(prefix));
        assert!(is_known, "{name}={value} came from somewhere");
    }
    Ok(())
}

/// What one program leaves behind, the next one does not find, nor does the host keep it.
pub async fn what_is_left_behind_is_not_found_by_the_next(stage: &Stage) -> Verdict {
    let name = format!("vulcan-conformance-{:032x}", random());

    let left = stage.run(Act::LeaveTraces { name: name.clone() }).await?;
    assert_ne!(
        left.output(),
        &json!([]),
        "nothing could be left, so nothing is shown"
    );
    let found = stage.run(Act::FindTraces { name: name.clone() }).await?;

    assert_eq!(found.output(), &json!([]));
    for folder in ["/tmp", "/var/tmp", "/dev/shm", "/run", "/work"] {
        let path = std::path::Path::new(folder).join(&name);
        assert!(!path.exists(), "{} is on the host", path.display());
    }
    Ok(())
}

/// Two instances at the same time share nothing: ports, abstract sockets, SysV memory, files, processes.
pub async fn neighbours_do_not_see_each_other(stage: &Stage) -> Verdict {
    let offering = stage.program(Act::OfferToNeighbours)?;
    let mut seeking = stage.attack_program("neighbour").await?;
    let neighbour = stage.start().await;
    let running = stage.begin(&neighbour, offering);
    let offer: std::collections::BTreeMap<String, String> =
        serde_json::from_str(&running.first_line().await).expect("the neighbour says what it offers");
    stage.note(format!("offered: {offer:?}"));
    seeking.env.extend(offer);

    let ended = stage.run_program(seeking, Resources::default()).await;

    assert_eq!(ended.output()["contained"], json!(true), "{}", ended.output());
    stop(neighbour.as_ref()).await;
    drop(running.end().await);
    Ok(())
}

/// The loopback interface inside belongs to the instance.
pub async fn the_loopback_interface_works_inside(stage: &Stage) -> Verdict {
    let ended = stage.run(Act::UseLoopback).await?;

    assert_eq!(ended.output(), &json!(true));
    Ok(())
}
