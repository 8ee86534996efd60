//! The configuration file: settings, or errors that say where.

use std::fs;

use redis_ambassador::config::{Errors, Origin, Resolved, Sources, load, load_without_master};

/// Loads `text` as a configuration file.
pub fn check(text: &[u8]) {
    let (strict, lenient) = loaded(text);
    assert_eq!(
        outcome(&loaded(text).1),
        outcome(&lenient),
        "the same text means the same"
    );
    match (&strict, &lenient) {
        (Ok(strict), Ok(lenient)) => assert_eq!(strict.settings, lenient.settings),
        (Err(errors), Ok(_)) => assert!(
            errors
                .0
                .iter()
                .all(|problem| problem.expected.starts_with("no master:")),
            "only the master is missing: {errors}"
        ),
        (Ok(_), Err(errors)) => panic!("wrong only where less is asked for: {errors}"),
        (Err(_), Err(_)) => {}
    }
    match strict {
        Ok(resolved) => is_what_it_describes(&resolved),
        Err(errors) => say_where(&errors, text),
    }
    if let Err(errors) = lenient {
        say_where(&errors, text);
    }
}

type Loaded = Result<Resolved, Errors>;

fn loaded(text: &[u8]) -> (Loaded, Loaded) {
    let directory = tempfile::tempdir().expect("a private directory");
    // A name that is always the same: it is part of the errors.
    let file = directory.path().join("ambassador.toml");
    fs::write(&file, text).expect("the file can be written");
    let sources = Sources {
        file: Some(file),
        ..Sources::default()
    };
    (load(&sources), load_without_master(&sources))
}

/// What can be compared of two loads, which read two files.
fn outcome(loaded: &Loaded) -> Result<String, Vec<(String, String)>> {
    match loaded {
        Ok(resolved) => Ok(format!("{:?}", resolved.settings)),
        Err(errors) => Err(errors
            .0
            .iter()
            .map(|problem| (problem.key.clone(), problem.value.clone()))
            .collect()),
    }
}

/// What `check` prints is a file that means the same, apart from the password, which it hides.
fn is_what_it_describes(resolved: &Resolved) {
    let printed = resolved.describe();
    let again = match loaded(printed.as_bytes()).0 {
        Ok(again) => again,
        Err(errors) => panic!("{errors}\nin what was printed:\n{printed}"),
    };
    let mut settings = again.settings;
    settings
        .upstream
        .password
        .clone_from(&resolved.settings.upstream.password);
    assert_eq!(settings, resolved.settings, "in what was printed:\n{printed}");
    let values = |resolved: &Resolved| -> Vec<_> {
        let values = resolved.values.iter();
        values
            .map(|value| (value.key.clone(), value.value.clone()))
            .collect()
    };
    let again = Resolved {
        settings,
        values: again.values,
    };
    assert_eq!(values(&again), values(resolved));
}

fn say_where(errors: &Errors, text: &[u8]) {
    assert!(!errors.0.is_empty(), "an error without a problem");
    let lines = text.split(|byte| *byte == b'\n').count();
    for problem in &errors.0 {
        assert!(!problem.expected.is_empty(), "{problem:?}");
        match &problem.origin {
            Some(Origin::File { line, .. }) => assert!((1..=lines).contains(line), "{problem:?}"),
            Some(Origin::Default) => assert!(!problem.key.is_empty(), "{problem:?}"),
            Some(Origin::Environment(_) | Origin::Argument(_)) => panic!("there is none: {problem:?}"),
            // What stands nowhere has no place: then the places where it may stand are named.
            None => assert!(
                !problem.key.is_empty()
                    || problem.expected.contains("ambassador.toml")
                    || problem.expected.contains("under [upstream] in the file"),
                "{problem:?}"
            ),
        }
    }
}
