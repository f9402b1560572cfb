//! Compiles a list of system calls into a seccomp filter that finds a call by bisection.
//!
//! Why not the linear filters of a library: the kernel runs a new filter once for every call that exists, to remember which
//! are always allowed, and translates it to machine code. With some 300 calls in a row that was a tenth of all processor time
//! that a start takes. Source: Documentation/userspace-api/seccomp_filter.rst, man 2 seccomp, `struct seccomp_data`.

use std::io;

use seccompiler::sock_filter;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is carried out.
    Allow,
    /// It fails with this number.
    Errno(i32),
    /// It is carried out if its argument passes, and fails with EPERM otherwise.
    If(Check),
}

/// What an argument must be. Only its lower 32 bits count, as in the kernel for these calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// One of these.
    OneOf { argument: u32, values: &'static [u32] },
    /// None of these.
    NoneOf { argument: u32, values: &'static [u32] },
    /// Without any of these bits.
    NoneOfBits { argument: u32, bits: u32 },
}

/// Where things are in `struct seccomp_data`.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGUMENTS: u32 = 16;
/// From linux/audit.h: the machine, 64 bits, little-endian.
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

const REFUSED: Verdict = Verdict::Errno(libc::EPERM);

/// Compiles the rules. Calls without one fail with EPERM; a call of another architecture ends the process.
///
/// # Errors
///
/// When a number is negative or named twice, or the program is longer than the kernel takes.
pub(super) fn compile(rules: &[(i64, Verdict)]) -> io::Result<Vec<sock_filter>> {
    let spans = spans(rules)?;
    let mut program = vec![
        load(OFFSET_ARCH),
        jump_if(libc::BPF_JEQ, ARCH, 1, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load(OFFSET_NUMBER),
    ];
    program.extend(bisect(&spans));
    if program.len() > usize::from(u16::try_from(libc::BPF_MAXINSNS).unwrap_or(u16::MAX)) {
        return Err(invalid("the filter is longer than the kernel takes".to_owned()));
    }
    Ok(program)
}

/// Cuts all numbers into spans of one verdict: each from its number up to the next span's.
fn spans(rules: &[(i64, Verdict)]) -> io::Result<Vec<(u32, Verdict)>> {
    let mut rules: Vec<(u32, Verdict)> = rules
        .iter()
        .map(|(number, verdict)| match u32::try_from(*number) {
            Ok(number) => Ok((number, *verdict)),
            Err(_) => Err(invalid(format!("{number} is no system call"))),
        })
        .collect::<io::Result<_>>()?;
    rules.sort_unstable_by_key(|(number, _)| *number);
    if let Some(twice) = rules.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(invalid(format!("the system call {} has two rules", twice[0].0)));
    }
    let mut spans = vec![(0, REFUSED)];
    for (number, verdict) in rules {
        // The span before may have been a gap that closes at once.
        if spans.last().is_some_and(|(start, _)| *start == number) {
            spans.pop();
        }
        if spans.last().is_none_or(|(_, last)| *last != verdict) {
            spans.push((number, verdict));
        }
        spans.push((number + 1, REFUSED));
    }
    Ok(spans)
}

/// Emits a search tree over the spans.
fn bisect(spans: &[(u32, Verdict)]) -> Vec<sock_filter> {
    let (left, right) = spans.split_at(spans.len() / 2);
    let Some((middle, _)) = right.first().filter(|_| !left.is_empty()) else {
        return spans.first().map_or_else(Vec::new, |(_, verdict)| leaf(*verdict));
    };
    let left = bisect(left);
    // Conditional jumps reach 255 instructions; an unconditional one reaches everything.
    let skip = u32::try_from(left.len()).unwrap_or(u32::MAX);
    let mut program = vec![
        jump_if(libc::BPF_JGE, *middle, 0, 1),
        instruction(libc::BPF_JMP | libc::BPF_JA, skip),
    ];
    program.extend(left);
    program.extend(bisect(right));
    program
}

fn leaf(verdict: Verdict) -> Vec<sock_filter> {
    let allow = answer(libc::SECCOMP_RET_ALLOW);
    let refuse = errno(libc::EPERM);
    let one_of = |argument, values: &[u32], hit: sock_filter, miss: sock_filter| {
        let mut program = vec![load(OFFSET_ARGUMENTS + 8 * argument)];
        for value in values {
            program.push(jump_if(libc::BPF_JEQ, *value, 0, 1));
            program.push(hit.clone());
        }
        program.push(miss);
        program
    };
    match verdict {
        Verdict::Allow => vec![allow],
        Verdict::Errno(number) => vec![errno(number)],
        Verdict::If(Check::OneOf { argument, values }) => one_of(argument, values, allow, refuse),
        Verdict::If(Check::NoneOf { argument, values }) => one_of(argument, values, refuse, allow),
        Verdict::If(Check::NoneOfBits { argument, bits }) => vec![
            load(OFFSET_ARGUMENTS + 8 * argument),
            instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, bits),
            jump_if(libc::BPF_JEQ, 0, 0, 1),
            allow,
            refuse,
        ],
    }
}

fn load(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn errno(number: i32) -> sock_filter {
    answer(libc::SECCOMP_RET_ERRNO | number.unsigned_abs())
}

fn answer(value: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, value)
}

fn instruction(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: u16::try_from(code).expect("every code has 16 bits"),
        jt: 0,
        jf: 0,
        k,
    }
}

fn jump_if(condition: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        jt,
        jf,
        ..instruction(libc::BPF_JMP | condition | libc::BPF_K, k)
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter as the kernel does. Returns its answer, and how many instructions that took.
    fn run(program: &[sock_filter], arch: u32, number: u32, arguments: [u32; 6]) -> (u32, usize) {
        let (mut at, mut accumulator, mut steps) = (0, 0, 0);
        loop {
            let step = &program[at];
            steps += 1;
            at += 1;
            let code = u32::from(step.code);
            let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
            match code {
                _ if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    accumulator = match step.k {
                        OFFSET_NUMBER => number,
                        OFFSET_ARCH => arch,
                        offset => arguments[((offset - OFFSET_ARGUMENTS) / 8) as usize],
                    };
                }
                _ if code == libc::BPF_JMP | libc::BPF_JA => at += step.k as usize,
                _ if code == libc::BPF_JMP | libc::BPF_JEQ => at += jump(accumulator == step.k),
                _ if code == libc::BPF_JMP | libc::BPF_JGE => at += jump(accumulator >= step.k),
                _ if code == libc::BPF_ALU | libc::BPF_AND => accumulator &= step.k,
                _ if code == libc::BPF_RET => return (step.k, steps),
                _ => panic!("an instruction that no filter of ours has: {code:#x}"),
            }
        }
    }

    const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | 1;

    #[test]
    fn every_number_gets_the_verdict_of_its_rule_in_a_few_steps() {
        let rules: Vec<(i64, Verdict)> = (0..460)
            .filter(|number| number % 7 < 3 || number % 11 == 0)
            .map(|number| (number, Verdict::Allow))
            .collect();
        let program = compile(&rules).unwrap();
        for number in (0..1000).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
            let expected = rules.iter().any(|(allowed, _)| *allowed == i64::from(number));
            let (verdict, steps) = run(&program, ARCH, number, [0; 6]);
            assert_eq!(verdict, if expected { ALLOWED } else { EPERM }, "{number}");
            assert!(steps < 30, "{steps} steps for {number}");
        }
    }

    #[test]
    fn arguments_are_checked() {
        let rules = [
            (
                5,
                Verdict::If(Check::OneOf {
                    argument: 0,
                    values: &[1, 10],
                }),
            ),
            (
                6,
                Verdict::If(Check::NoneOf {
                    argument: 1,
                    values: &[7, 8],
                }),
            ),
            (
                9,
                Verdict::If(Check::NoneOfBits {
                    argument: 2,
                    bits: 0b110,
                }),
            ),
            (10, Verdict::Errno(38)),
        ];
        let program = compile(&rules).unwrap();
        let verdict = |number, arguments| run(&program, ARCH, number, arguments).0;
        assert_eq!(
            [1, 10, 2].map(|value| verdict(5, [value, 0, 0, 0, 0, 0])),
            [ALLOWED, ALLOWED, EPERM]
        );
        assert_eq!(
            [7, 8, 9].map(|value| verdict(6, [0, value, 0, 0, 0, 0])),
            [EPERM, EPERM, ALLOWED]
        );
        assert_eq!(
            [0b1001, 0b10, 0b100].map(|value| verdict(9, [0, 0, value, 0, 0, 0])),
            [ALLOWED, EPERM, EPERM]
        );
        assert_eq!(verdict(10, [0; 6]), libc::SECCOMP_RET_ERRNO | 38);
        assert_eq!([4, 7, 8, 11].map(|number| verdict(number, [0; 6])), [EPERM; 4]);
    }

    #[test]
    fn another_architecture_ends_the_process() {
        let program = compile(&[(1, Verdict::Allow)]).unwrap();
        assert_eq!(
            run(&program, 0x4000_0003, 1, [0; 6]).0,
            libc::SECCOMP_RET_KILL_PROCESS
        );
    }

    #[test]
    fn a_call_with_two_rules_is_refused() {
        assert!(compile(&[(1, Verdict::Allow), (1, REFUSED)]).is_err());
        assert!(compile(&[(-1, Verdict::Allow)]).is_err());
    }
}
