//! No two files of a crate need each other.
//!
//! The rule, read from the sources of each crate by itself:
//! - A file *uses* another where it mentions, in a `use` or in a path, a name that the other defines.
//!   A re-exported name (`pub use`) counts for the file that defines it, wherever it is imported from.
//! - Declaring a module and re-exporting its names is no use of it: a parent may list its children.
//! - A child that uses what its parent itself defines, while the parent uses the child, is a circle like any other.
//! - Methods are not followed (their types are named somewhere), nor is test-only code.
//!
//! A circle is broken by moving what both need into a separate file, below both, or the choice between them up.

use super::imports::{Edge, edges};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tempfile::tempdir;

const CRATES: [&str; 3] = ["rpo-experiment", "rpo-report", "rpo-train"];

type Graph<'a> = BTreeMap<&'a Path, Vec<&'a Edge>>;

#[test]
fn no_two_files_need_each_other() {
    let mut said = String::new();
    for name in CRATES {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
        let edges = edges(&src.join("src"));
        assert!(edges.len() > 10, "{name} was not read");
        for circle in circles(&edges) {
            write!(said, "\n{name}:").expect("a text takes all");
            for Edge {
                from,
                line,
                name,
                to,
            } in circle
            {
                let (from, to) = (from.display(), to.display());
                write!(said, "\n    {from}:{line} uses {name} of {to}").expect("a text takes all");
            }
        }
    }
    assert!(said.is_empty(), "files in a circle:{said}");
}

/// One shortest circle for each set of files that all need each other.
fn circles(edges: &[Edge]) -> Vec<Vec<Edge>> {
    let mut graph = Graph::new();
    for edge in edges {
        graph.entry(&edge.from).or_default().push(edge);
    }
    let mut told = BTreeSet::new();
    let mut found = Vec::new();
    for file in graph.keys() {
        let circle = circle(&graph, file);
        let set: BTreeSet<PathBuf> = circle.iter().map(|e| e.from.clone()).collect();
        if !set.is_empty() && told.insert(set) {
            found.push(circle);
        }
    }
    found
}

/// The shortest path from a file back to itself, if any.
fn circle(graph: &Graph, start: &Path) -> Vec<Edge> {
    let mut reached_by: BTreeMap<&Path, &Edge> = BTreeMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(file) = open.pop_front() {
        for edge in graph.get(file).into_iter().flatten() {
            if reached_by.contains_key(edge.to.as_path()) {
                continue;
            }
            reached_by.insert(&edge.to, edge);
            open.push_back(&edge.to);
        }
    }
    let (mut way, mut at) = (Vec::new(), start);
    while let Some(edge) = reached_by.get(at) {
        way.push((*edge).clone());
        at = &edge.from;
        if at == start {
            break;
        }
    }
    way.reverse();
    way
}

#[test]
fn circles_are_told_from_what_is_passed_on() {
    let folder = tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    let found = || {
        let of = |c: Vec<Edge>| c.iter().map(|e| e.from.display().to_string()).collect();
        let circles = circles(&edges(folder.path())).into_iter();
        circles.map(of).collect::<Vec<Vec<String>>>()
    };
    write(
        "lib.rs",
        "mod low;\nmod room;\nmod side;\npub use room::Door;",
    );
    write("low.rs", "pub struct Plain;");
    write("room/mod.rs", "mod door;\npub use door::Door;\nstruct Own;");
    // It uses its parent's own item and a sibling, while the parent only re-exports.
    write(
        "room/door.rs",
        "use super::Own;\nuse crate::low;\npub struct Door(Own, low::Plain);",
    );
    write("side.rs", "struct Side(crate::Door);");
    assert_eq!(found(), Vec::<Vec<String>>::new());
    // A parent that uses what it re-exports.
    write(
        "room/mod.rs",
        "mod door;\npub use door::Door;\nstruct Own(Box<Door>);",
    );
    assert_eq!(found(), [["room/door.rs", "room/mod.rs"]]);
    write("room/mod.rs", "mod door;\npub use door::Door;\nstruct Own;");
    // Through a name that two others re-export.
    write(
        "low.rs",
        "use crate::side::{self, Side as S};\npub struct Plain;",
    );
    assert_eq!(found(), [["low.rs", "side.rs", "room/door.rs"]]);
    write(
        "low.rs",
        "#[cfg(test)]\nmod tests {\n    use crate::side::Side;\n}\npub struct Plain;",
    );
    assert_eq!(found(), Vec::<Vec<String>>::new());
}
