//! Modules use only those below them, in the order of `src/lib.rs`, and no two siblings use each other.
//!
//! Read from the text: every path that begins with `crate`, `super` or `self` outside comments and strings, unit
//! tests included. An item re-exported by a parent counts as the parent's, which any child may use.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn modules_use_only_what_is_below_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lib = fs::read_to_string(root.join("src/lib.rs")).expect("src/lib.rs can be read");
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    let files: Vec<_> = files
        .iter()
        .map(|path| {
            let name = path.strip_prefix(root).expect("it was found there");
            let text = fs::read_to_string(path).expect("a source can be read");
            (name.to_str().expect("names are plain").to_owned(), text)
        })
        .collect();

    let found = violations(&lib, &files);

    assert!(layers(&lib).len() > 1 && files.len() > 1, "nothing was read");
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// The rules on a crate of five small files: each line that breaks one is found, and no other.
#[test]
fn every_kind_of_violation_is_found() {
    let lib = "//! Map.\npub mod top;\nmod middle;\n\n// Why.\npub mod bottom;\n";
    let files = [
        (
            "src/top.rs",
            "use crate::{bottom::{self, Base}, middle};\nuse super::middle::Thing;\n",
        ),
        (
            "src/middle.rs",
            "//! See [`crate::top`].\n/* crate::top */ const A: &str = \"crate::top\"; const B: &str = r#\"\" crate::top\"#;\n\
             use crate::{bottom, top::Tip};\nconst QUOTE: char = '\"'; fn f<'a>() { crate::top::run() }\n",
        ),
        (
            "src/middle/left.rs",
            "use super::right::Right;\nuse super::Parent;\n",
        ),
        (
            "src/middle/right.rs",
            "mod tests {\n    use super::super::left::{\n        Left,\n    };\n    use super::Right;\n}\n",
        ),
        (
            "src/bottom.rs",
            "pub(crate) fn f() {}\nmod tests {\n    use super::f;\n    use super::super::middle as m;\n}\n",
        ),
        ("src/lost.rs", ""),
    ];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));

    assert_eq!(
        violations(lib, &files),
        [
            "src/middle.rs:3: crate::top::Tip: src/lib.rs lists `top` above `middle`",
            "src/middle.rs:4: crate::top::run: src/lib.rs lists `top` above `middle`",
            "src/bottom.rs:4: crate::middle: src/lib.rs lists `middle` above `bottom`",
            "src/lost.rs: src/lib.rs does not list `lost`",
            "src/middle/left.rs:1: crate::middle::right::Right: \
             `left` and `right` use each other (src/middle/right.rs:3: crate::middle::left::Left)",
        ]
    );
}

/// The sources below a directory, but for the crate's roots.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).expect("a source directory can be read");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry can be read").path())
        .collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("src/lib.rs")
            && !path.ends_with("src/main.rs")
        {
            found.push(path);
        }
    }
}

/// The modules that `lib.rs` lists, top first.
fn layers(lib: &str) -> Vec<String> {
    lib.lines()
        .filter_map(|line| line.strip_prefix("pub mod ").or(line.strip_prefix("mod ")))
        .filter_map(|rest| rest.strip_suffix(';'))
        .map(str::to_owned)
        .collect()
}

/// One line per reference that breaks a rule.
fn violations(lib: &str, files: &[(String, String)]) -> Vec<String> {
    let layers = layers(lib);
    let layer = |module: &str| layers.iter().position(|listed| listed == module);
    let mut found = Vec::new();
    // From one sibling to the other, the first place where it is used.
    let mut uses: BTreeMap<(Vec<String>, String, String), String> = BTreeMap::new();
    for (name, text) in files {
        let module = module_of(name);
        let Some(own) = layer(&module[0]) else {
            found.push(format!("{name}: src/lib.rs does not list `{}`", module[0]));
            continue;
        };
        for Reference { line, path } in references(&module, text) {
            let shown = format!("{name}:{line}: crate::{}", path.join("::"));
            if let Some(target) = path.first().and_then(|target| layer(target))
                && target < own
            {
                let (upper, lower) = (&layers[target], &layers[own]);
                found.push(format!("{shown}: src/lib.rs lists `{upper}` above `{lower}`"));
            }
            let shared = module
                .iter()
                .zip(&path)
                .take_while(|(own, its)| own == its)
                .count();
            if shared > 0
                && let (Some(own), Some(its)) = (module.get(shared), path.get(shared))
            {
                let siblings = (module[..shared].to_vec(), own.clone(), its.clone());
                uses.entry(siblings).or_insert(shown);
            }
        }
    }
    for ((parent, left, right), place) in &uses {
        let back = uses.get(&(parent.clone(), right.clone(), left.clone()));
        if let Some(back) = back.filter(|_| left < right) {
            found.push(format!("{place}: `{left}` and `{right}` use each other ({back})"));
        }
    }
    found
}

/// `src/worker/link.rs` is `worker::link`.
fn module_of(name: &str) -> Vec<String> {
    let path = name.trim_start_matches("src/").trim_end_matches(".rs");
    path.split('/').map(str::to_owned).collect()
}

/// A path into this crate, from its root.
struct Reference {
    line: usize,
    path: Vec<String>,
}

/// Every path into this crate that a module's text names.
fn references(module: &[String], text: &str) -> Vec<Reference> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    // Inline modules that are open, with the depth of braces outside them: `super` counts from the innermost.
    let mut inline: Vec<(usize, String)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        let word = |index: usize| tokens.get(index).map_or("", |(_, token)| token.as_str());
        match word(at) {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inline.pop_if(|(outside, _)| *outside == depth);
            }
            "mod" if word(at + 2) == "{" => inline.push((depth, word(at + 1).to_owned())),
            "crate" | "super" | "self" if word(at + 1) == "::" && word(at.wrapping_sub(1)) != "::" => {
                let mut path = module.to_vec();
                path.extend(inline.iter().map(|(_, name)| name.clone()));
                at = tree(&tokens, at, &path, &mut found);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Reads a path or a tree of paths (`a::{b, c::d}`) below `base`; where it ends.
fn tree(tokens: &[(usize, String)], mut at: usize, base: &[String], found: &mut Vec<Reference>) -> usize {
    let mut path = base.to_vec();
    let line = tokens[at].0;
    while let Some((_, token)) = tokens.get(at) {
        at += 1;
        match token.as_str() {
            "crate" => path.clear(),
            "super" => drop(path.pop()),
            "self" => {}
            "{" => {
                while tokens.get(at).is_some_and(|(_, token)| token != "}") {
                    let end = tree(tokens, at, &path, found);
                    // A comma, or `as name,`, or something that is no path.
                    at = end.max(at + 1);
                    if tokens.get(end).is_some_and(|(_, token)| token == "}") {
                        at = end;
                    }
                }
                return at + 1;
            }
            word if word.starts_with(|first: char| first.is_alphabetic() || first == '_') => {
                path.push(word.to_owned());
            }
            _ => return at - 1,
        }
        if tokens.get(at).is_none_or(|(_, token)| token != "::") {
            break;
        }
        at += 1;
    }
    found.push(Reference { line, path });
    at
}

/// Words, `::` and single signs with their lines; without comments, strings and characters.
fn tokens(text: &str) -> Vec<(usize, String)> {
    let chars: Vec<char> = text.chars().collect();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let begins = |at: usize, what: &str| {
        what.chars()
            .enumerate()
            .all(|(i, c)| chars.get(at + i) == Some(&c))
    };
    let after = |from: usize, what: &str| {
        let found = (from..chars.len()).find(|&at| begins(at, what));
        found.map_or(chars.len(), |at| at + what.chars().count())
    };
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut at = 0;
    while at < chars.len() {
        let start = at;
        match chars[at] {
            '/' if begins(at, "//") => at = after(at, "\n"),
            '/' if begins(at, "/*") => at = after(at, "*/"),
            '"' => at = string_end(&chars, at, '"'),
            // A character, or else a lifetime.
            '\'' if chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'') => {
                at = string_end(&chars, at, '\'');
            }
            c if is_word(c) => {
                let word: String = chars[at..].iter().take_while(|c| is_word(**c)).collect();
                at += word.chars().count();
                let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
                if matches!(&word[..], "r" | "br" | "cr") && chars.get(at + hashes) == Some(&'"') {
                    at = after(at + hashes + 1, &format!("\"{}", "#".repeat(hashes)));
                } else {
                    tokens.push((line, word));
                }
            }
            ':' if begins(at, "::") => {
                tokens.push((line, "::".to_owned()));
                at += 2;
            }
            c => {
                if !c.is_whitespace() {
                    tokens.push((line, c.to_string()));
                }
                at += 1;
            }
        }
        line += chars[start..at.min(chars.len())]
            .iter()
            .filter(|c| **c == '\n')
            .count();
    }
    tokens
}

/// Behind the closing quote of the string that begins at `at`.
fn string_end(chars: &[char], mut at: usize, quote: char) -> usize {
    at += 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}
