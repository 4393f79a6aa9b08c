//! Assigns each picture its prompt.

use anyhow::Result;
use rpo_data::prompts::{dreambench, fill, token_places};
use rpo_data::subject;
use rpo_files::failure::{BadInput, OrBadInput};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A picture and its prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Relative to the folder of pictures.
    pub(super) file: String,
    pub(super) path: PathBuf,
    /// As given: filled in or a template.
    pub(super) prompt: String,
}

/// The value of `--prompts`.
#[derive(Debug)]
pub(super) enum Prompts {
    /// Not given: a text file beside every picture, or `metadata.jsonl` / `metadata.csv` among them.
    Beside,
    /// Prompts by index.
    List(Vec<String>),
    /// One prompt per file.
    Rows {
        table: PathBuf,
        rows: BTreeMap<String, String>,
    },
    /// DreamBench's 25 test prompts, for objects or for living subjects.
    Dreambench,
}

impl Prompts {
    /// `dreambench`, one file, or prompts.
    pub(super) fn read(given: &[String]) -> Result<Self> {
        match given {
            [] => Ok(Self::Beside),
            [one] if one == "dreambench" => Ok(Self::Dreambench),
            [one] if Path::new(one).is_file() => Self::file(Path::new(one)),
            [one] if !one.contains(char::is_whitespace) && Path::new(one).extension().is_some() => {
                Err(BadInput::new(format!(
                    "--prompts {one}: no such file\n  hint: a .txt, .csv, .json or .jsonl file, prompts, or dreambench"
                )))
            }
            several => Ok(Self::List(several.to_vec())),
        }
    }

    fn file(path: &Path) -> Result<Self> {
        let what = format!("--prompts {}", path.display());
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        if !["csv", "json", "jsonl"].contains(&ending.to_lowercase().as_str()) {
            let text = std::fs::read_to_string(path).or_bad_input(&what)?;
            let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
            let list: Vec<String> = lines.filter(|l| !l.is_empty()).map(Into::into).collect();
            if list.is_empty() {
                return Err(BadInput::new(format!("{what}: no prompt in it")));
            }
            return Ok(Self::List(list));
        }
        Ok(Self::Rows {
            rows: rows(path).map_err(|e| BadInput::new(format!("{what}: {e:#}")))?,
            table: path.to_path_buf(),
        })
    }

    /// The pictures in `dir` with their prompts, sorted by name.
    pub(super) fn assign(&self, dir: &Path, live: bool) -> Result<Vec<Item>> {
        let files = Files::list(dir)?;
        match self {
            Self::List(list) => files.by_place(dir, list),
            Self::Dreambench => files.by_place(dir, &dreambench(live).test),
            Self::Rows { table, rows } => files.by_rows(dir, table, rows),
            Self::Beside => {
                let tables = ["metadata.jsonl", "metadata.csv"].map(|name| dir.join(name));
                match tables.into_iter().find(|t| t.is_file()) {
                    Some(table) => {
                        let rows = rows(&table).or_bad_input(table.display())?;
                        files.by_rows(dir, &table, &rows)
                    }
                    None => files.by_captions(dir),
                }
            }
        }
    }
}

/// A row of a table; the first names are this program's, the others those of image folders on the hub.
#[derive(Deserialize)]
struct Row {
    #[serde(alias = "file_name", alias = "file", alias = "image")]
    picture: String,
    #[serde(alias = "text", alias = "caption")]
    prompt: String,
}

fn rows(path: &Path) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Json {
        Rows(Vec<Row>),
        Map(BTreeMap<String, String>),
    }
    let text = std::fs::read_to_string(path)?;
    let text = text.trim_start_matches('\u{feff}');
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    let list: Vec<Row> = match ending.to_lowercase().as_str() {
        "csv" => csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes())
            .deserialize()
            .collect::<Result<_, _>>()?,
        "jsonl" => text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?,
        _ => match serde_json::from_str(text)? {
            Json::Rows(rows) => rows,
            Json::Map(map) => return Ok(map),
        },
    };
    let mut rows = BTreeMap::new();
    for Row { picture, prompt } in list {
        let picture = picture.replace('\\', "/");
        if rows.insert(picture.clone(), prompt).is_some() {
            anyhow::bail!("the picture {picture} is listed twice");
        }
    }
    Ok(rows)
}

/// The pictures of a folder: flat, or in one folder per prompt.
struct Files {
    /// Name of the inner folder, if there are any, and the picture.
    found: Vec<(Option<String>, PathBuf)>,
    folders: usize,
}

impl Files {
    fn list(dir: &Path) -> Result<Self> {
        let (flat, folders) = subject::list(dir).or_bad_input("--pictures")?;
        let mut found: Vec<(Option<String>, PathBuf)> =
            flat.into_iter().map(|path| (None, path)).collect();
        let mut used = 0;
        for folder in folders {
            let inner = subject::list(&folder).or_bad_input("--pictures")?.0;
            used += usize::from(!inner.is_empty());
            let name = folder.file_name().map(|n| n.to_string_lossy().into_owned());
            found.extend(inner.into_iter().map(|path| (name.clone(), path)));
        }
        if found.is_empty() {
            return Err(BadInput::new(format!(
                "--pictures {}: no picture in it or in its folders\n  hint: .jpg, .png or .webp files",
                dir.display()
            )));
        }
        Ok(Self {
            found,
            folders: used,
        })
    }

    fn items(
        self,
        dir: &Path,
        prompt: impl Fn(&Option<String>, &Path, &str) -> Result<String>,
    ) -> Result<Vec<Item>> {
        self.found
            .into_iter()
            .map(|(folder, path)| {
                let relative = path.strip_prefix(dir).unwrap_or(&path);
                let file = relative.to_string_lossy().replace('\\', "/");
                Ok(Item {
                    prompt: prompt(&folder, &path, &file)?,
                    file,
                    path,
                })
            })
            .collect()
    }

    /// A single prompt applies to all pictures. Of several, the first number in the name of the picture's folder, or of a picture
    /// without one, is the prompt's index from 0; folders without numbers are in the order of the prompts.
    fn by_place(self, dir: &Path, list: &[String]) -> Result<Vec<Item>> {
        if let [one] = list {
            return self.items(dir, |_, _, _| Ok(one.clone()));
        }
        let mut names: Vec<String> = self.found.iter().filter_map(|(f, _)| f.clone()).collect();
        names.dedup();
        let ordered = !names.is_empty() && names.iter().all(|name| number(name).is_none());
        if ordered && self.folders != list.len() {
            return Err(BadInput::new(format!(
                "--pictures {}: {} folders and {} prompts\n  hint: a folder a prompt, or names with the prompt's number from 0",
                dir.display(),
                self.folders,
                list.len()
            )));
        }
        self.items(dir, |folder, path, file| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let place = match folder {
                Some(name) if ordered => names.iter().position(|n| n == name),
                Some(name) => number(name),
                None => number(&stem),
            };
            place.and_then(|i| list.get(i)).cloned().ok_or_else(|| {
                BadInput::new(format!(
                    "the picture {file} in {} has no prompt: {} of {} prompts\n  hint: name it or its folder by the prompt's number from 0 (`prompt-03-1.png`), or give a table: --prompts prompts.csv with the columns picture,prompt",
                    dir.display(),
                    place.map_or("its name has no number".into(), |i| format!("its number is {i}")),
                    list.len()
                ))
            })
        })
    }

    fn by_rows(
        self,
        dir: &Path,
        table: &Path,
        rows: &BTreeMap<String, String>,
    ) -> Result<Vec<Item>> {
        let items = self.items(dir, |_, _, file| {
            rows.get(file).cloned().ok_or_else(|| {
                BadInput::new(format!(
                    "the picture {file} in {} has no prompt in {}\n  hint: add a row for it, its path as seen from the folder of pictures",
                    dir.display(),
                    table.display()
                ))
            })
        })?;
        match rows
            .keys()
            .find(|row| items.iter().all(|i| i.file != **row))
        {
            Some(row) => Err(BadInput::new(format!(
                "{} lists {row}, which is not in {}",
                table.display(),
                dir.display()
            ))),
            None => Ok(items),
        }
    }

    fn by_captions(self, dir: &Path) -> Result<Vec<Item>> {
        self.items(dir, |_, path, file| {
            let beside = path.with_extension("txt");
            let text = std::fs::read_to_string(&beside).unwrap_or_default();
            let text = text.trim_start_matches('\u{feff}').trim();
            if text.is_empty() {
                return Err(BadInput::new(format!(
                    "the picture {file} in {} has no prompt\n  hint: --prompts, or a text beside it: {}",
                    dir.display(),
                    beside.display()
                )));
            }
            Ok(text.to_owned())
        })
    }
}

/// The first number in a name.
fn number(name: &str) -> Option<usize> {
    let start = name.find(|c: char| c.is_ascii_digit())?;
    let digits: String = name[start..]
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

/// A prompt with the subject's token and without: placeholders (`{}`, `{token}`, `{class}`) are filled in, and a token that is
/// written out as a word of its own, in any case, is removed with one adjacent space. An empty token is none: both are the
/// same.
pub(super) fn readings(prompt: &str, token: &str, class: &str) -> Result<[String; 2]> {
    let mut template = prompt.to_owned();
    for place in token_places(prompt, token).into_iter().rev() {
        // A token that is called like a placeholder is not one.
        if !(prompt[..place.start].ends_with('{') && prompt[place.end..].starts_with('}')) {
            template.replace_range(place, "{token}");
        }
    }
    if class.is_empty() && (template.contains("{}") || template.contains("{class}")) {
        return Err(BadInput::new(format!(
            "the prompt {prompt:?} has a place for the class\n  hint: --class dog"
        )));
    }
    let with = Some(token).filter(|token| !token.trim().is_empty());
    Ok([fill(prompt, with, class), fill(&template, None, class)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_read_with_its_token_and_without() {
        let both = |prompt| readings(prompt, "[V]", "dog").unwrap();
        let want = ["a [V] dog in the snow", "a dog in the snow"];
        assert_eq!(both("a [V] dog in the snow"), want);
        assert_eq!(both("a {} in the snow"), want);
        assert_eq!(both("a {token} {class} in the snow"), want);
        assert_eq!(both("a dog")[0], "a dog");
        assert!(readings("a {}", "[V]", "").is_err());
        assert_eq!(both("a [v] dog")[0], "a [v] dog");
        assert_eq!(both("a [v] dog, [V][v]")[1], "a dog,");
    }

    #[test]
    fn only_a_word_is_a_token() {
        let of = |prompt, token| readings(prompt, token, "dog").unwrap();
        for none in ["", " "] {
            assert_eq!(of("a dog", none), ["a dog", "a dog"]);
            assert_eq!(of("a {} here", none), ["a dog here", "a dog here"]);
        }
        assert_eq!(of("he asks a sks dog", "sks")[1], "he asks a dog");
        assert_eq!(of("a {token} {class}", "token")[0], "a token dog");
        assert_eq!(of("a {token} {class}", "token")[1], "a dog");
        assert_eq!(of("a .* dog", ".*"), ["a .* dog", "a dog"]);
    }

    #[test]
    fn numbers_in_names() {
        assert_eq!(number("prompt-03-1"), Some(3));
        assert_eq!(number("12"), Some(12));
        assert_eq!(number("snow"), None);
    }
}
