//! Programs without what is a matter of time, or of where a command runs, and whose replies therefore need not be the
//! same: each with its reason.

use std::collections::HashSet;

use redis_ambassador::commands::Class;

use crate::program::{Program, Step, Words};
use crate::random::Random;
use crate::run::{class, makes_replies_uneven};
use crate::shrink::is_silencing;

/// Puts neighbouring steps of one connection into one write now and then, whatever they are about.
pub(crate) fn merged(random: &mut Random, steps: Vec<Step>) -> Vec<Step> {
    // Behind other commands of one write a refused AUTH has no reply at all since Redis 7.2 (`addAuthErrReply` in acl.c
    // takes theirs for its own); the ambassador always says what is wrong.
    let is_login = |words: &Words| words.iter().any(|word| word == b"AUTH");
    // Who is unblocked goes on at once, and so does who did that.
    let unblocks = |words: &Words| words.iter().any(|word| word == b"UNBLOCK");
    let may = |commands: &[Words]| {
        !commands.iter().any(|words| {
            makes_replies_uneven(words) || unblocks(words) || class(words) == Some(Class::Blocking)
        })
    };
    let mut merged: Vec<Step> = Vec::new();
    for step in steps {
        match (merged.last_mut(), step) {
            (Some(Step::Send(before, commands)), Step::Send(number, more))
                if *before == number
                    && may(commands)
                    && may(&more)
                    && !more.iter().any(is_login)
                    && random.chance(50) =>
            {
                commands.extend(more);
            }
            (_, step) => merged.push(step),
        }
    }
    merged
}

/// Leaves out what is a matter of time, or of where a command runs.
pub(crate) fn without(mut program: Program) -> Program {
    let has = |program: &Program, names: &[&[u8]]| {
        program.any(|words| words.iter().any(|word| names.contains(&&word[..])))
    };
    if has(&program, &[b"WATCH", b"TRACKING"]) {
        // It refreshes the cached count where it runs, which is a write there, and only there, to those who watch.
        replace(&mut program, |words| words[0].eq_ignore_ascii_case(b"pfcount"));
    }
    if has(&program, &[b"LIST"]) {
        // The last command of a client that is blocked is here the last one that it sent.
        for step in &mut program.steps {
            if let Step::Send(_, commands) = step
                && class(&commands[0]) == Some(Class::Blocking)
            {
                commands.truncate(1);
            }
        }
    }
    if has(&program, &[b"COPY", b"RENAME", b"RENAMENX", b"RESTORE"]) {
        // Under another name a set is sorted in the order of its hash table.
        replace(&mut program, |words| words.iter().any(|word| word == b"nosort"));
    }
    not_about_clients_in_transactions(&mut program);
    if has(&program, &[b"BCAST"]) {
        // Invalidations of a broadcasting cache come once for all that was written in one round of the server's, and
        // what of a pipeline it reads in one round is a matter of time.
        let single = |step: Step| match step {
            Step::Send(number, commands) if !is_silencing(&commands) => {
                let each = |words| Step::Send(number, vec![words]);
                commands.into_iter().map(each).collect()
            }
            step => vec![step],
        };
        program.steps = program.steps.into_iter().flat_map(single).collect();
    }
    program
}

/// In a transaction CLIENT KILL and UNBLOCK are refused, and LIST and INFO may be about the connection that it runs on:
/// the README says so.
fn not_about_clients_in_transactions(program: &mut Program) {
    let mut queueing = HashSet::new();
    for step in &mut program.steps {
        let Step::Send(number, commands) = step else {
            continue;
        };
        for words in commands {
            let second = words.get(1).map(|word| word.to_ascii_lowercase());
            match words[0].to_ascii_lowercase().as_slice() {
                b"multi" => {
                    queueing.insert(*number);
                }
                b"exec" | b"discard" | b"reset" => {
                    queueing.remove(number);
                }
                b"client"
                    if queueing.contains(number)
                        && matches!(second.as_deref(), Some(b"kill" | b"unblock" | b"list" | b"info")) =>
                {
                    *words = vec![b"PING".to_vec()];
                }
                _ => {}
            }
        }
    }
}

/// Puts PING in the place of commands.
fn replace(program: &mut Program, is_so: impl Fn(&Words) -> bool) {
    for step in &mut program.steps {
        if let Step::Send(_, commands) = step {
            let found = commands.iter_mut().filter(|words| is_so(words));
            found.for_each(|words| *words = vec![b"PING".to_vec()]);
        }
    }
}
