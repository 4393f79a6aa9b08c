//! Files with prompts.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::list::{Form, Prompt, parse};
use crate::picture::{ending, shown};
use crate::subject::read_text;

/// Bytes of a file of prompts.
const MOST: u64 = 4 << 20;

/// Reads a file of prompts: `.jsonl` with a JSON object on each line, any other with a prompt on each line ([`Form`]); UTF-8,
/// with or without a byte order mark.
///
/// # Errors
/// A file that cannot be read, is too large or of another encoding, and what [`parse`] refuses; by path and line.
pub fn read_prompts(path: &Path) -> Result<Vec<Prompt>> {
    let name = shown(path);
    let form = match ending(path).as_str() {
        "jsonl" | "ndjson" => Form::Rows,
        other @ ("json" | "csv" | "tsv" | "toml" | "yaml" | "yml") => bail!(
            "{name}: prompts are not read from .{other} files\n  hint: a text file with a prompt on each line, or .jsonl with {{\"prompt\": \"a {{}} in the snow\"}} on each line"
        ),
        _ => Form::Lines,
    };
    let about = fs::metadata(path).with_context(|| format!("cannot read the prompts {name}"))?;
    if about.len() > MOST {
        bail!(
            "{name}: {} bytes, of at most {MOST}\n  hint: a file with one prompt on each line",
            about.len()
        );
    }
    parse(&name, &read_text(path)?, form)
}
