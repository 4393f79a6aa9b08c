//! The modules of this crate stand on floors: none imports, over however many steps, one that imports it; nor do folders.
//!
//! A module is a file, and imports those that define the names it uses, by `use` or by a path in its code. A re-export is seen
//! through: it is an import of whoever takes the name by it. Methods are not followed to their `impl`; tests do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::{fs, path::Path};

#[derive(Default)]
struct Module {
    /// The paths that are brought in, by the names they get here.
    names: BTreeMap<String, String>,
    /// Those that are not merely handed on, and all words and paths of the code.
    used: Vec<String>,
}

fn join(module: &str, name: &str) -> String {
    format!("{module}::{name}").trim_matches(':').to_owned()
}

fn read(folder: &Path, at: &str, into: &mut BTreeMap<String, Module>) {
    for path in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        match path.file_stem().unwrap().to_str().unwrap() {
            "tests" => {}
            name if path.is_dir() => read(&path, &join(at, name), into),
            "lib" | "mod" => drop(into.insert(at.to_owned(), parse(&path))),
            name => drop(into.insert(join(at, name), parse(&path))),
        }
    }
}

fn parse(path: &Path) -> Module {
    let (mut module, mut code) = (Module::default(), String::new());
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text.lines().filter_map(|line| line.split("//").next());
    let text = lines.collect::<Vec<_>>().join("\n");
    for piece in text.split_inclusive(';') {
        let (before, tree) = piece.rsplit_once("use ").unwrap_or((piece, ""));
        let (rest, public) = before.rsplit_once('\n').unwrap_or(("", before));
        let public = public.trim();
        let is_use = !tree.is_empty() && (public.is_empty() || public.starts_with("pub"));
        let (rest, tree) = if is_use { (rest, tree) } else { (piece, "") };
        code += rest;
        for leaf in leaves(tree.trim_end_matches(';'), "") {
            let name = leaf.rsplit([':', ' ']).next().unwrap().to_owned();
            let path = leaf.split(' ').next().unwrap().to_owned();
            module.used.extend(public.is_empty().then(|| path.clone()));
            // A macro's own name, handed on, leads nowhere else.
            (path != name).then(|| module.names.insert(name, path));
        }
    }
    let words = code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    module.used.extend(words.map(String::from));
    module
}

/// The paths of the tree of a `use`.
fn leaves(tree: &str, before: &str) -> Vec<String> {
    let path = before.to_owned() + tree.split('{').next().unwrap().trim();
    let Some((_, rest)) = tree.split_once('{') else {
        return Vec::from_iter((path != before).then(|| path.replace("::self", "")));
    };
    let mut depth = 0;
    let parts = rest[..rest.rfind('}').unwrap()].split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    parts.flat_map(|part| leaves(part, &path)).collect()
}

/// The module that defines what `module` calls `path`, itself for locals and other crates; `None` if it is a module.
fn definer(all: &BTreeMap<String, Module>, module: &str, path: &str) -> Option<String> {
    let (mut at, mut rest) = (module.to_owned(), path.trim_matches(':'));
    while !rest.is_empty() {
        let (name, after) = rest.split_once("::").unwrap_or((rest, ""));
        match (name, all[&at].names.get(name)) {
            ("crate", _) => at.clear(),
            ("self", _) => {}
            ("super", _) => at.truncate(at.rfind("::").unwrap_or(0)),
            _ if all.contains_key(&join(&at, name)) => at = join(&at, name),
            (_, Some(brought)) if brought.split("::").next() != Some(name) => {
                return definer(all, &at, &join(brought, after));
            }
            _ => return Some(at),
        }
        rest = after;
    }
    None
}

/// Goes on from the last of `way` to all that has not been visited.
fn visit(graph: &BTreeMap<String, BTreeSet<String>>, way: &[&str], done: &mut BTreeSet<String>) {
    for to in &graph[way[way.len() - 1]] {
        assert!(!way.contains(&&**to), "circle: {to} after {way:?}");
        if done.insert(to.clone()) {
            visit(graph, &[way, &[to]].concat(), done);
        }
    }
}

#[test]
fn no_module_imports_in_a_circle() {
    let (mut all, root) = (BTreeMap::new(), env!("CARGO_MANIFEST_DIR"));
    read(&Path::new(root).join("src"), "", &mut all);
    // The crate's folders, those within them, and so on to files.
    for depth in 1..=4 {
        let cut = |path: &String| path.split("::").take(depth).collect::<Vec<_>>().join("::");
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (at, module) in &all {
            let used = module.used.iter();
            let to = used.filter_map(|path| definer(&all, at, path));
            let to = to.map(|to| cut(&to)).filter(|to| *to != cut(at));
            graph.entry(cut(at)).or_default().extend(to);
        }
        let mut done = BTreeSet::new();
        graph.keys().for_each(|at| visit(&graph, &[at], &mut done));
    }
}
