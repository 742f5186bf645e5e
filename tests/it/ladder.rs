//! The ladder of ARCHITECTURE.md: a module names only modules of lower rungs.

use std::path::{Path, PathBuf};

/// Lower may not name higher, nor its neighbours on the same rung.
const RUNGS: [&[&str]; 12] = [
    &["kernel"],
    &["db", "outbound", "config", "metrics"],
    &["companies"],
    &["ctx"],
    &["auth", "users", "events", "audit"],
    &["trackers", "alerts"],
    &["flows", "recordings", "visits"],
    &["calls", "messages"],
    &["voicemails", "usage", "webhooks", "reports"],
    &["carriers", "install_check"],
    &["http", "jobs"],
    &["app", "demo", "listen", "cli", "main"],
];

/// Modules that may name each other although they stand on one rung.
const EXCEPTIONS: [(&str, &str, &str); 5] = [
    ("jobs", "http", "answers kept for Idempotency-Key are swept"),
    ("cli", "app", "a command starts the server"),
    ("cli", "demo", "a command starts the demo"),
    ("cli", "listen", "a command starts the listener"),
    ("demo", "app", "the demo starts the server"),
];

fn rung(module: &str) -> Option<usize> {
    RUNGS.iter().position(|names| names.contains(&module))
}

/// The module at the top that a file belongs to.
fn module_of(file: &Path, src: &Path) -> String {
    let relative = file.strip_prefix(src).unwrap();
    let first = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The modules that a line of code names: `crate::x…` and each first word of `use crate::{x…, y…}`.
fn named(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or("");
    let mut names = Vec::new();
    for part in code.split("crate::").skip(1) {
        let list = part.strip_prefix('{').map_or(vec![part], |inside| inside.split(',').collect());
        for item in list {
            let word: String = item.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            names.push(word);
        }
    }
    names
}

#[test]
fn modules_import_from_lower_rungs_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut offenders = Vec::new();
    for file in files {
        let own = module_of(&file, &src);
        if own == "lib" {
            continue;
        }
        let Some(own_rung) = rung(&own) else {
            offenders.push(format!("{own} stands on no rung"));
            continue;
        };
        for (number, line) in (1..).zip(std::fs::read_to_string(&file).unwrap().lines()) {
            for name in named(line) {
                let Some(other) = rung(&name) else { continue };
                let excepted = EXCEPTIONS.iter().any(|(from, to, _)| *from == own && *to == name);
                if name != own && other >= own_rung && !excepted {
                    offenders.push(format!("{}:{number}: {own} names {name}", file.display()));
                }
            }
        }
    }
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
}

#[test]
fn no_file_grows_beyond_reading() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let long: Vec<_> = files
        .iter()
        .map(|file| (std::fs::read_to_string(file).unwrap().lines().count(), file))
        .filter(|(lines, _)| *lines > 650)
        .collect();
    assert!(long.is_empty(), "split by decision: {long:?}");
}
