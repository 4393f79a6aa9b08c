//! Tables of prompts or captions: `metadata.jsonl` and `.csv` as image folders on the hub have them, `.json` of captioners.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::text::read_text;
use crate::picture::{ending, shown};

/// Names of a row's picture: this program's first, the hub's next.
const PICTURE: [&str; 4] = ["picture", "file_name", "file", "image"];
/// Names of its text.
const TEXT: [&str; 3] = ["prompt", "text", "caption"];

/// The texts of a table by picture, paths with `/`.
///
/// `.csv` with a header and `.jsonl` have a row per picture: its path under `picture`, `file_name`, `file` or `image`, its text
/// under `prompt`, `text` or `caption`. `.json` is a list of such rows, or an object from path to text, or to an object with the
/// text (kohya's `meta_cap.json`).
///
/// # Errors
/// A file that is none of these; a row without picture or text, with two texts that differ, or for a picture that has one
/// already; by path and row.
pub fn read_table(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = read_text(path)?;
    let rows = match ending(path).as_str() {
        "csv" => of_csv(&text),
        "jsonl" => of_lines(&text),
        _ => of_json(&text),
    };
    rows.and_then(collected).with_context(|| shown(path))
}

/// A row with its place in the table.
type Row = (String, Map<String, Value>);

fn of_csv(text: &str) -> Result<Vec<Row>> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let header = reader.headers()?.clone();
    let row = |record: csv::StringRecord| {
        let place = format!("line {}", record.position().map_or(0, csv::Position::line));
        let pairs = header.iter().zip(record.iter());
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.into()));
        (place, pairs.collect())
    };
    Ok(reader
        .records()
        .map(|r| r.map(row))
        .collect::<Result<_, _>>()?)
}

fn of_lines(text: &str) -> Result<Vec<Row>> {
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(i, line)| {
            let place = format!("line {}", i + 1);
            let row = serde_json::from_str(line).with_context(|| place.clone())?;
            Ok((place, row))
        })
        .collect()
}

fn of_json(text: &str) -> Result<Vec<Row>> {
    match serde_json::from_str(text)? {
        Value::Array(rows) => (rows.into_iter().enumerate())
            .map(|(i, row)| match row {
                Value::Object(row) => Ok((format!("row {i}"), row)),
                _ => bail!(
                    "row {i} is no object\n  hint: {{\"picture\": \"a.jpg\", \"text\": \"…\"}}"
                ),
            })
            .collect(),
        Value::Object(entries) => (entries.into_iter())
            .map(|(picture, value)| {
                let mut row = match value {
                    Value::Object(row) => row,
                    text => Map::from_iter([("text".to_owned(), text)]),
                };
                row.retain(|key, _| TEXT.contains(&key.as_str()));
                row.insert("picture".to_owned(), Value::String(picture.clone()));
                Ok((picture, row))
            })
            .collect(),
        _ => bail!("is neither a list of rows nor an object from picture to text"),
    }
}

fn collected(rows: Vec<Row>) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for (place, row) in rows {
        let picture = one(&row, &PICTURE).with_context(|| place.clone())?;
        let text = one(&row, &TEXT).with_context(|| place.clone())?;
        let picture = picture.replace('\\', "/");
        let picture = picture.strip_prefix("./").unwrap_or(&picture).to_owned();
        if found.insert(picture.clone(), text).is_some() {
            bail!("the picture {picture} is listed twice");
        }
    }
    Ok(found)
}

/// The value under one of `names`.
fn one(row: &Map<String, Value>, names: &[&str]) -> Result<String> {
    let all = || {
        names
            .iter()
            .filter_map(|name| Some((*name, row.get(*name)?)))
    };
    let mut values = all().map(|(name, value)| match value {
        Value::String(text) => Ok(text),
        other => bail!("`{name}` is {other}, not a text"),
    });
    let Some(first) = values.next().transpose()? else {
        let keys: Vec<&str> = row.keys().map(String::as_str).collect();
        bail!(
            "has none of `{}`; its keys are `{}`",
            names.join("`, `"),
            keys.join("`, `")
        );
    };
    for other in values {
        if other? != first {
            let names: Vec<&str> = all().map(|(name, _)| name).collect();
            bail!("`{}` differ\n  hint: leave one away", names.join("` and `"));
        }
    }
    Ok(first.clone())
}
