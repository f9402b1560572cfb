//! Claims about processes, pipes and the agent's own life.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use vulcan_guest_protocol::{Exec, ExitStatus, GuestRuntime, HostFrame, RefusalCode, SignalRequest};

use crate::guest::{Guest, Run};

/// Waits until the last background process has a session of its own.
const ESCAPED: &str = "until [ $(cut -d' ' -f6 /proc/$!/stat) = $! ]; do :; done";

fn bash(code: &str) -> Run {
    Run::file(GuestRuntime::Bash, "main.sh", code)
}

fn exec(code: &str) -> HostFrame {
    HostFrame::Exec(Exec {
        user: String::new(),
        argv: ["bash", "-c", code].map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        cwd: "/".into(),
    })
}

#[expect(clippy::disallowed_methods, reason = "a deadline of real processes")]
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "{what} did not happen");
        std::thread::yield_now();
    }
}

fn is_gone(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn exit_codes_and_signals_are_exact() {
    for (code, status) in [
        ("exit 0", ExitStatus::Code(0)),
        ("exit 255", ExitStatus::Code(255)),
        ("kill -SEGV $$", ExitStatus::Signal(11)),
        ("kill -KILL $$", ExitStatus::Signal(9)),
    ] {
        assert_eq!(Guest::start().run(&bash(code)).exited().status, status, "{code}");
    }
}

#[test]
fn long_output_arrives_whole_and_in_order() {
    let answer = Guest::start().run(&bash("for i in {1..200000}; do echo $i; done; echo end >&2"));
    let expected: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    assert!(answer.stdout() == expected);
    assert_eq!(answer.stderr(), "end\n");
}

#[test]
fn what_was_written_before_a_crash_arrives() {
    let answer = Guest::start().run(&bash("head -c 60000 /dev/zero; kill -KILL $$"));
    assert_eq!(answer.stdout.len(), 60_000);
    assert_eq!(answer.exited().status, ExitStatus::Signal(9));
}

#[test]
fn the_group_of_an_ended_program_is_killed() {
    for run in [
        bash("sleep 1000 & echo $!"),
        bash("sleep 1000 & echo $!").repeatable(),
    ] {
        let answer = Guest::start().run(&run);
        let pid = answer.stdout().trim().to_owned();
        eventually("the end of the sleeper", || is_gone(&pid));
    }
}

#[test]
fn an_escaped_process_that_holds_the_pipes_delays_nothing() {
    let mut guest = Guest::start();
    let answer = guest.run(&bash(&format!("setsid sleep 1000 & {ESCAPED}; echo $!")).repeatable());
    let pid = answer.stdout().trim().to_owned();
    // It still lives, so its end is not what was waited for.
    assert!(!is_gone(&pid));
    guest.run(&bash(&format!("kill {pid}")));
}

#[test]
fn an_escaped_process_that_floods_delays_nothing() {
    let mut guest = Guest::start();
    let code = format!("setsid yes & {ESCAPED}; echo $! >&2");
    let answer = guest.run(&bash(&code).repeatable());
    // Nobody reads its pipe any more.
    let pid = answer.stderr().trim().to_owned();
    eventually("the end of the flood", || is_gone(&pid));
}

#[test]
fn a_signal_reaches_the_program_and_its_group() {
    let mut guest = Guest::start();
    guest.begin(1, &bash("sleep 1000 & echo ready; wait"));
    guest.next_stdout();

    guest.send(1, &HostFrame::Signal(SignalRequest { signal: 15 }));

    assert_eq!(guest.finish(1).exited().status, ExitStatus::Signal(15));
}

#[test]
fn a_program_has_default_signals_and_not_the_stream() {
    let code = "grep -E '^Sig(Blk|Ign)' /proc/self/status; readlink /proc/$$/fd/*";
    let answer = Guest::start().run(&bash(code));
    let text = answer.stdout();
    let mask = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    // 32 and 33 belong to the C library, which does not let anybody change them.
    let theirs = 0b11 << 31;
    assert_eq!((mask("SigBlk:"), mask("SigIgn:") & !theirs), (0, 0), "{text}");
    assert!(text.contains("pipe:["), "{text}");
    assert!(!text.contains("socket:["), "{text}");
}

#[test]
fn a_program_leads_its_own_session() {
    let answer = Guest::start().run(&bash("cut -d' ' -f5,6 /proc/$$/stat; echo $$ $$"));
    let text = answer.stdout();
    let (first, second) = text.trim().split_once('\n').unwrap();
    assert_eq!(first, second);
}

#[test]
fn programs_go_first_when_memory_runs_out() {
    let code = "until grep -q '^500$' /proc/self/oom_score_adj; do :; done; echo yes";
    assert_eq!(Guest::start().run(&bash(code)).stdout(), "yes\n");
}

#[test]
fn the_end_of_the_stream_ends_the_program_and_the_agent() {
    let mut guest = Guest::start();
    guest.begin(1, &bash("echo $$; sleep 1000"));
    let pid = String::from_utf8(guest.next_stdout()).unwrap();

    assert!(guest.hang_up().success());

    eventually("the end of the program", || is_gone(pid.trim()));
}

#[test]
fn shutdown_ends_the_program_and_the_agent() {
    let mut guest = Guest::start();
    guest.begin(1, &bash("echo $$; sleep 1000"));
    let pid = String::from_utf8(guest.next_stdout()).unwrap();

    guest.send(0, &HostFrame::Shutdown);

    while guest.next_frame().is_some() {}
    assert!(guest.wait().success());
    eventually("the end of the program", || is_gone(pid.trim()));
}

#[test]
fn a_host_that_does_not_greet_is_left() {
    let mut guest = Guest::start_silent();
    guest.send(0, &HostFrame::Shutdown);
    assert_eq!(guest.next_frame(), None);
    assert!(!guest.wait().success());
}

#[test]
fn a_host_that_breaks_the_protocol_is_left() {
    let mut guest = Guest::start();
    guest.send_raw(&[0xff; 64]);
    assert_eq!(guest.next_frame(), None);
    assert!(!guest.wait().success());
}

#[test]
fn more_requests_than_the_limit_are_refused_as_busy() {
    let mut guest = Guest::start();
    for channel in 1..=64 {
        guest.send(channel, &exec("read line"));
    }
    guest.send(65, &exec("read line"));
    let refusal = guest.finish(65).refusal.unwrap();
    assert_eq!(refusal.code, RefusalCode::Busy);

    guest.send(1, &HostFrame::DataEnd);
    assert_eq!(guest.finish(1).exited().status, ExitStatus::Code(1));
    guest.send(66, &exec("true"));
    guest.send(66, &HostFrame::DataEnd);
    assert_eq!(guest.finish(66).exited().status, ExitStatus::Code(0));
}

#[test]
fn a_flood_that_nobody_reads_is_held_up_by_its_own_pipe() {
    let mut guest = Guest::start();
    guest.begin(1, &bash("exec yes"));
    guest.next_stdout();
    let agent = format!("/proc/{}", guest.agent_id());
    // Both sleep: the program in its pipe, the agent in its poll.
    eventually("the hold-up", || {
        let sleeps = |path: &str| {
            std::fs::read_to_string(format!("{path}/stat")).is_ok_and(|stat| stat.contains(") S "))
        };
        sleeps(&agent) && (0..50).all(|_| sleeps(&agent))
    });
    let status = std::fs::read_to_string(format!("{agent}/status")).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    let kilobytes: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kilobytes < 16 * 1024, "{peak}");

    guest.send(1, &HostFrame::Signal(SignalRequest { signal: 9 }));
    assert_eq!(guest.finish(1).exited().status, ExitStatus::Signal(9));
}

#[test]
fn input_that_a_command_does_not_read_holds_up_neither_its_output_nor_its_end() {
    let mut guest = Guest::start();
    let mut writer = guest.writer();
    let sender = std::thread::spawn(move || {
        writer.send(1, &exec("echo out; read -n 1 x; sleep 0.1; echo end"));
        // More than the agent and the pipes hold.
        writer.data(1, &vec![b'x'; 8 * 1024 * 1024]);
        writer.send(1, &HostFrame::DataEnd);
        writer.send(2, &exec("echo second"));
        writer.send(2, &HostFrame::DataEnd);
    });

    let first = guest.finish(1);
    let second = guest.finish(2);

    assert_eq!(first.stdout(), "out\nend\n");
    assert_eq!(second.stdout(), "second\n");
    sender.join().unwrap();
}

#[test]
fn input_of_a_program_that_does_not_read_it_holds_up_nothing() {
    let mut guest = Guest::start();
    let run = bash("echo out; sleep 1000").input(vec![b' '; 8 * 1024 * 1024]);
    guest.begin(1, &run);
    guest.next_stdout();
    guest.send(2, &exec("cat"));
    guest.send(2, &HostFrame::Data(b"through".to_vec()));
    guest.send(2, &HostFrame::DataEnd);
    assert_eq!(guest.finish(2).stdout(), "through");
}

#[test]
fn several_programs_run_at_once_and_keep_their_streams_apart() {
    let mut guest = Guest::start();
    for channel in 1..=8 {
        guest.send(channel, &exec("cat"));
    }
    for channel in (1..=8).rev() {
        guest.send(channel, &HostFrame::Data(format!("for {channel}").into_bytes()));
        guest.send(channel, &HostFrame::DataEnd);
        let answer = guest.finish(channel);
        assert_eq!(answer.stdout(), format!("for {channel}"));
        assert_eq!(answer.exited().status, ExitStatus::Code(0));
    }
}

#[test]
fn a_command_finds_its_program_and_its_folder_or_is_refused() {
    let request = |program: &str, cwd: &str| {
        HostFrame::Exec(Exec {
            user: String::new(),
            argv: vec![program.into()],
            env: BTreeMap::new(),
            cwd: cwd.into(),
        })
    };
    let mut guest = Guest::start();
    guest.send(1, &request("pwd", "/usr"));
    assert_eq!(guest.finish(1).stdout(), "/usr\n");
    for (program, cwd, code) in [
        ("no-such-program", "/", RefusalCode::NotFound),
        ("/no/such/program", "/", RefusalCode::NotFound),
        ("pwd", "/no/such/folder", RefusalCode::NotFound),
        ("/etc/passwd", "/", RefusalCode::Io),
    ] {
        guest.send(1, &request(program, cwd));
        assert_eq!(guest.finish(1).refusal.unwrap().code, code, "{program}");
    }
    guest.send(
        1,
        &HostFrame::Exec(Exec {
            user: String::new(),
            argv: Vec::new(),
            env: BTreeMap::new(),
            cwd: "/".into(),
        }),
    );
    assert_eq!(guest.finish(1).refusal.unwrap().code, RefusalCode::Invalid);
}

#[test]
fn what_a_command_leaves_in_the_background_goes_on() {
    let mut guest = Guest::start();
    guest.send(1, &exec("sleep 1000 & echo $!"));
    guest.send(1, &HostFrame::DataEnd);
    let pid = guest.finish(1).stdout().trim().to_owned();
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    guest.send(2, &exec(&format!("kill {pid}")));
    assert_eq!(guest.finish(2).exited().status, ExitStatus::Code(0));
}

#[test]
fn frames_on_channels_that_are_over_are_ignored() {
    let mut guest = Guest::start();
    guest.send(9, &HostFrame::Data(b"x".to_vec()));
    guest.send(9, &HostFrame::DataEnd);
    guest.send(9, &HostFrame::Signal(SignalRequest { signal: 9 }));
    assert_eq!(guest.run(&bash("echo on")).stdout(), "on\n");
}

#[test]
fn strings_that_no_program_can_get_are_refused() {
    for run in [
        bash("").args(&["a\0b"]),
        bash("").env("A", "a\0b"),
        bash("").env("A=B", "c"),
    ] {
        assert_eq!(
            Guest::start().run(&run).refusal.unwrap().code,
            RefusalCode::Invalid
        );
    }
}

#[test]
fn a_guest_that_is_kept_runs_one_program_after_another() {
    let mut guest = Guest::start();
    for text in ["one\n", "two\n"] {
        assert_eq!(
            guest.run(&bash(&format!("echo {text}")).repeatable()).stdout(),
            text
        );
    }
}
