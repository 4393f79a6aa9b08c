//! Which file of a crate uses what another file defines.

use super::source::{Token, closing, tokens};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A file of a crate: one module.
struct Module {
    file: PathBuf,
    parent: usize,
    children: BTreeMap<String, usize>,
    items: BTreeSet<String>,
    imports: Vec<Import>,
    paths: Vec<(Vec<String>, usize)>,
}

/// One name that a `use` imports; for `use a::*` the name is `*`.
#[derive(Clone)]
struct Import {
    name: String,
    path: Vec<String>,
    public: bool,
    line: usize,
}

enum Found {
    Module(usize),
    /// In the module that defines it.
    Item(usize),
}

/// `from` mentions in `line` a name that `to` defines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
    pub(crate) line: usize,
    pub(crate) name: String,
}

/// Which file uses which in the crate whose sources are below `src`; returned paths are relative to it.
pub(crate) fn edges(src: &Path) -> Vec<Edge> {
    let root = src.join("lib.rs");
    assert!(root.is_file(), "no library in {}", src.display());
    let mut modules = Vec::new();
    read(&root, 0, &mut modules);
    let relative = |module: usize| {
        let file: &Path = &modules[module].file;
        file.strip_prefix(src).expect("below src").to_owned()
    };
    let mut found = BTreeMap::new();
    for (i, module) in modules.iter().enumerate() {
        // Uses: every private import and every path. A public import is a re-export, not a use.
        let private = module.imports.iter().filter(|import| !import.public);
        let private = private.map(|import| (&import.path, import.line));
        for (path, line) in private.chain(module.paths.iter().map(|(path, line)| (path, *line))) {
            match resolve(&modules, i, path, 0) {
                Some(Found::Item(to)) if to != i => {
                    found.entry((i, to)).or_insert_with(|| Edge {
                        from: relative(i),
                        to: relative(to),
                        line,
                        name: path.join("::"),
                    });
                }
                _ => {}
            }
        }
    }
    found.into_values().collect()
}

fn read(file: &Path, parent: usize, modules: &mut Vec<Module>) -> usize {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let tokens = tokens(&text);
    let me = modules.len();
    let (items, declared) = items(&tokens, file);
    let (imports, paths) = imports(&tokens);
    modules.push(Module {
        file: file.to_owned(),
        parent,
        children: BTreeMap::new(),
        items,
        imports,
        paths,
    });
    let folder = match file.file_name().and_then(|n| n.to_str()) {
        Some("lib.rs" | "main.rs" | "mod.rs") => file.parent().expect("a folder").to_owned(),
        _ => file.with_extension(""),
    };
    for name in declared {
        let flat = folder.join(format!("{name}.rs"));
        let nested = folder.join(&name).join("mod.rs");
        let file = if flat.is_file() { flat } else { nested };
        let child = read(&file, me, modules);
        modules[me].children.insert(name, child);
    }
    me
}

/// The names that a file defines, and the modules that it declares.
fn items(tokens: &[Token], file: &Path) -> (BTreeSet<String>, Vec<String>) {
    let (mut items, mut declared, mut i) = (BTreeSet::new(), Vec::new(), 0);
    while i < tokens.len() {
        let next = |k: usize| tokens.get(i + k).map_or("", |t| t.text.as_str());
        match tokens[i].text.as_str() {
            "{" | "(" | "[" => i = closing(tokens, i),
            "mod" => {
                assert_eq!(next(2), ";", "{}: a module within", file.display());
                declared.push(next(1).to_owned());
            }
            "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" => {
                let name = if next(1) == "mut" { next(2) } else { next(1) };
                items.insert(name.to_owned());
            }
            "macro_rules" => {
                items.insert(next(2).to_owned());
            }
            _ => {}
        }
        i += 1;
    }
    (items, declared)
}

/// The imports of a file, and every other path in it, of one name or more.
fn imports(tokens: &[Token]) -> (Vec<Import>, Vec<(Vec<String>, usize)>) {
    let (mut imports, mut paths, mut i) = (Vec::new(), Vec::new(), 0);
    while i < tokens.len() {
        let is = |i: usize, text: &str| tokens.get(i).is_some_and(|t| t.is(text));
        if is(i, "use") && !is(i + 1, "<") {
            let before = i.checked_sub(1).map(|k| tokens[k].text.as_str());
            // `pub use`, `pub(crate) use`; nothing else ends in a bracket without a semicolon.
            let public = matches!(before, Some("pub" | ")"));
            i = tree(tokens, i + 1, &[], public, &mut imports);
        } else if tokens[i].is_word() && !(i > 0 && (is(i - 1, ".") || is(i - 1, "::"))) {
            let line = tokens[i].line;
            let mut path = vec![tokens[i].text.clone()];
            while is(i + 1, "::") && tokens.get(i + 2).is_some_and(Token::is_word) {
                path.push(tokens[i + 2].text.clone());
                i += 2;
            }
            paths.push((path, line));
            i += 1;
        } else {
            i += 1;
        }
    }
    (imports, paths)
}

/// Reads one tree of a `use` from `i` and returns where it ends.
fn tree(
    tokens: &[Token],
    start: usize,
    prefix: &[String],
    public: bool,
    imports: &mut Vec<Import>,
) -> usize {
    let (mut path, mut i) = (prefix.to_vec(), start);
    let line = tokens[start].line;
    loop {
        match tokens[i].text.as_str() {
            "::" => i += 1,
            "{" => {
                let end = closing(tokens, i);
                i += 1;
                while i < end {
                    i = tree(tokens, i, &path, public, imports);
                    if tokens[i].is(",") {
                        i += 1;
                    }
                }
                return end + 1;
            }
            "as" => {
                let name = tokens[i + 1].text.clone();
                imports.push(Import {
                    name,
                    path,
                    public,
                    line,
                });
                return i + 2;
            }
            "self" if !path.is_empty() => i += 1,
            "," | "}" | ";" => {
                let name = path.last().expect("a name").clone();
                imports.push(Import {
                    name,
                    path,
                    public,
                    line,
                });
                return i;
            }
            part => {
                path.push(part.to_owned());
                i += 1;
            }
        }
    }
}

/// What `path` refers to in module `here`; nothing if it belongs to another crate.
fn resolve(modules: &[Module], here: usize, path: &[String], depth: usize) -> Option<Found> {
    // `use rand::rand` within `rand` would recurse for ever.
    if depth > 8 {
        return None;
    }
    let mut at = here;
    for (i, part) in path.iter().enumerate() {
        let module = &modules[at];
        let (first, last) = (i == 0, i + 1 == path.len());
        match part.as_str() {
            "crate" => at = 0,
            "self" => {}
            "super" => at = module.parent,
            "*" => return Some(Found::Item(at)),
            name => {
                let child = module.children.get(name);
                if module.items.contains(name) && (last || child.is_none()) {
                    return Some(Found::Item(at));
                }
                if let Some(child) = child {
                    at = *child;
                } else if let Some(import) = module.imports.iter().find(|x| x.name == name) {
                    match resolve(modules, at, &import.path, depth + 1)? {
                        Found::Module(module) => at = module,
                        item => return Some(item),
                    }
                } else if first {
                    return None;
                } else {
                    // Defined by a macro.
                    return Some(Found::Item(at));
                }
            }
        }
    }
    Some(Found::Module(at))
}
