//! `rpo-train experiments`: the built-in experiments and their text.

use anyhow::Result;
use rpo_experiment::built_in::{self, BuiltIn};
use rpo_files::failure::BadInput;
use rpo_files::{console, say};
use std::path::Path;

/// Lists the built-in experiments, or prints the text of the one with this name.
pub(super) fn experiments(name: Option<&Path>) -> Result<()> {
    let Some(name) = name else {
        say!("rpo-train NAME runs one, `rpo-train experiments NAME` prints its text\n");
        list(built_in::EXPERIMENTS);
        say!("\n--with NAME lays one over any of them\n");
        list(built_in::SIZES);
        return Ok(());
    };
    let found = built_in::experiment(name).or_else(|| built_in::size(name));
    let Some(found) = found else {
        return Err(BadInput::new(format!(
            "{}: no experiment of this name is built in\n  hint: {}",
            name.display(),
            built_in::suggest(name, built_in::EXPERIMENTS)
        )));
    };
    console::out(found.text);
    Ok(())
}

fn list(built_in: &[BuiltIn]) {
    for one in built_in {
        say!("  {:<22} {}", one.short(), one.about());
    }
}
