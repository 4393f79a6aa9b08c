//! Assigns each picture its prompt.

use super::files::{Files, Item};
use super::names::Pattern;
use anyhow::Result;
use rpo_data::prompts::{Prompt, dreambench, fill, is_remark, read_prompts, without_token};
use rpo_data::subject::{Subject, read_table, read_text, some};
use rpo_files::failure::{BadInput, OrBadInput};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The value of `--prompts`.
#[derive(Debug)]
pub(super) enum Prompts {
    /// Not given: a text file beside every picture, or `metadata.jsonl` / `metadata.csv` among them.
    Beside,
    /// Prompts by index.
    List(Vec<String>),
    /// A list of templates, as `[prompts]` of an experiment names them, by index among those for the subject.
    Own(Vec<Prompt>),
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
        // Rows of pictures have other keys.
        if let Ok(list) = read_prompts(path) {
            return Ok(Self::Own(list));
        }
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        if !["csv", "json", "jsonl"].contains(&ending.to_lowercase().as_str()) {
            let text = read_text(path).or_bad_input(&what)?;
            let lines = text.lines().filter(|line| !is_remark(line));
            let list: Vec<String> = lines.map(|line| line.trim().to_owned()).collect();
            if list.is_empty() {
                return Err(BadInput::new(format!("{what}: no prompt in it")));
            }
            return Ok(Self::List(list));
        }
        Ok(Self::Rows {
            rows: read_table(path).or_bad_input(&what)?,
            table: path.to_path_buf(),
        })
    }

    /// The pictures in `dir` with their prompts, sorted by name, and what of both is left over.
    pub(super) fn assign(
        &self,
        dir: &Path,
        subject: &Subject,
        pattern: Option<&Pattern>,
    ) -> Result<Assigned> {
        let files = Files::list(dir)?;
        let list = match self {
            Self::List(list) => list,
            Self::Own(list) => &own(list, subject),
            Self::Dreambench => &dreambench(subject.live).test,
            _ if pattern.is_some() => {
                return Err(BadInput::new(
                    "--names tells the number of a prompt, and there are no numbered prompts\n  hint: --prompts with several prompts, a .txt file or dreambench",
                ));
            }
            Self::Rows { table, rows } => {
                return Ok(files.by_rows(table, rows)?.into());
            }
            Self::Beside => {
                let tables = ["metadata.jsonl", "metadata.csv"].map(|name| dir.join(name));
                return Ok(match tables.into_iter().find(|t| t.is_file()) {
                    Some(table) => {
                        let rows = read_table(&table).or_bad_input("--pictures")?;
                        files.by_rows(&table, &rows)?.into()
                    }
                    None => files.by_captions()?.into(),
                });
            }
        };
        let items = files.by_place(list, &subject.name, pattern)?;
        let unused: Vec<String> = (list.iter().enumerate())
            .filter(|(i, _)| items.iter().all(|(number, _)| number != i))
            .map(|(i, prompt)| format!("{i} {prompt:?}"))
            .collect();
        let drawn = list.len() - unused.len();
        // A rule that reads the wrong number finds few prompts.
        if 2 * drawn < list.len() {
            return Err(BadInput::new(format!(
                "--pictures {}: {} pictures are of {drawn} of {} prompts; without one are {}\n  hint: if their names have the prompt's number elsewhere, say where: --names '{{subject}}_{{prompt}}.png'; if only some prompts were drawn, give only those, or a table",
                dir.display(),
                items.len(),
                list.len(),
                some(&unused, unused.len())
            )));
        }
        Ok(Assigned {
            items: items.into_iter().map(|(_, item)| item).collect(),
            unused,
        })
    }
}

/// The templates of a list that are for the subject.
fn own(list: &[Prompt], subject: &Subject) -> Vec<String> {
    let fit = list.iter().filter(|p| p.is_for(subject.live));
    fit.map(|p| p.template.clone()).collect()
}

/// Pictures with prompts.
#[derive(Debug)]
pub(super) struct Assigned {
    pub(super) items: Vec<Item>,
    /// Prompts without a picture.
    pub(super) unused: Vec<String>,
}

impl From<Vec<Item>> for Assigned {
    fn from(items: Vec<Item>) -> Self {
        let unused = Vec::new();
        Self { items, unused }
    }
}

/// A prompt with the subject's token and without: placeholders (`{}`, `{token}`, `{class}`) are filled in, and a token that is
/// written out as a word of its own, in any case, is removed with one adjacent space. An empty token is none: both are the
/// same.
pub(super) fn readings(prompt: &str, token: &str, class: &str) -> Result<[String; 2]> {
    let template = without_token(prompt, token);
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
    use rpo_data::picture::save_png;
    use rpo_data::stickerbench;

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

    /// What pictures of these names are scored against, of as many numbered prompts.
    fn assigned(names: &[&str], prompts: usize, pattern: Option<&str>) -> Result<Vec<usize>> {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            save_png(path, &image::RgbImage::new(2, 2)).unwrap();
        }
        let list = (0..prompts).map(|i| format!("prompt {i}")).collect();
        let mut subject = stickerbench::subjects(0, 1, 8).remove(0);
        subject.name = "dog_6".into();
        let pattern = pattern.map(Pattern::parse).transpose()?;
        let found = Prompts::List(list).assign(folder.path(), &subject, pattern.as_ref())?;
        let number = |item: &Item| item.prompt["prompt ".len()..].parse().unwrap();
        Ok(found.items.iter().map(number).collect())
    }

    #[test]
    fn a_picture_is_scored_against_the_prompt_of_its_name() {
        let all = |form: &str| {
            (0..5)
                .map(|i| form.replace('#', &i.to_string()))
                .collect::<Vec<_>>()
        };
        for form in [
            "#.png",
            "dog6_0#.png",
            "dog_6-#.png",
            "sd15_0#.png",
            "v2-0#.png",
            "512x512_#.png",
            "0#_seed1.png",
            "IMG_20240105_0#.png",
            "dog6-0#/12.png",
            "#/0.png",
            "prompt-0#-1.png",
            "step-120-seed-3-0#-a-dog-0.png",
        ] {
            let names = all(form);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert_eq!(
                assigned(&names, 5, None).unwrap(),
                [0, 1, 2, 3, 4],
                "{form}"
            );
        }
        let several = ["prompt-00-0.png", "prompt-00-1.png", "prompt-01-0.png"];
        assert_eq!(assigned(&several, 2, None).unwrap(), [0, 0, 1]);
        assert_eq!(assigned(&several, 1, None).unwrap(), [0, 0, 0]);
        let pairs = ["0-0.png", "0-1.png", "1-0.png"];
        assert_eq!(assigned(&pairs, 2, Some("{prompt}-*")).unwrap(), [0, 0, 1]);
        assert_eq!(assigned(&pairs, 2, Some("*-{prompt}")).unwrap(), [0, 1, 0]);
    }

    #[test]
    fn lists_of_experiments_are_read_as_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            Prompts::file(&path).unwrap()
        };
        let mut subject = stickerbench::subjects(0, 1, 8).remove(0);
        subject.live = true;
        let rows = "{\"prompt\": \"a {} asleep\", \"live\": true}\n{\"prompt\": \"a {} in a box\", \"live\": false}\n";
        for (name, text) in [
            ("a.txt", "# mine\n[view]\na {} asleep\n"),
            ("a.jsonl", rows),
        ] {
            let Prompts::Own(list) = read(name, text) else {
                panic!("{name} is a list");
            };
            assert_eq!(own(&list, &subject), ["a {} asleep"], "{name}");
        }
        // Finished prompts, which no experiment takes.
        let Prompts::List(list) = read("b.txt", "[view]\n# mine\na [V] dog\n[V] dog here\n") else {
            panic!("a list");
        };
        assert_eq!(list, ["a [V] dog", "[V] dog here"]);
        let table = read(
            "b.jsonl",
            "{\"picture\": \"0.png\", \"prompt\": \"a {}\"}\n",
        );
        assert!(matches!(table, Prompts::Rows { .. }));
    }

    #[test]
    fn names_that_may_be_read_in_two_ways_are_refused() {
        let said = |names: &[&str], prompts, pattern| {
            let error = assigned(names, prompts, pattern).unwrap_err();
            format!("{error:#}")
        };
        let of = |names: &[&str], prompts| said(names, prompts, None);
        let text = of(&["0-0.png", "0-1.png", "1-0.png"], 2);
        assert!(
            text.contains("2 numbers") && text.contains("--names"),
            "{text}"
        );
        let text = of(&["2024-01-05-0.png", "2024-01-05-1.png"], 9);
        assert!(
            text.contains("[2024, 1, 5, 0]") && text.contains("not clear"),
            "{text}"
        );
        // One name with a number more than the others.
        let text = of(&["0.png", "1-2.png"], 3);
        assert!(
            text.contains("1-2.png") && text.contains("not clear"),
            "{text}"
        );
        let text = of(&["dog6.png", "0.png"], 3);
        assert!(text.contains("dog6.png has no prompt"), "{text}");
        let text = of(&["beach/0.png", "snow/0.png"], 2);
        assert!(
            text.contains("no number of a prompt in \"beach\""),
            "{text}"
        );
        let text = of(&["0.png", "3.png"], 3);
        assert!(text.contains("its number is 3, of 3 prompts"), "{text}");
        let text = said(&["0_a.png", "b.png"], 3, Some("{prompt}_*"));
        assert!(
            text.contains("b.png") && text.contains("does not describe"),
            "{text}"
        );
        // The digit of a name, taken for a prompt's number.
        let text = said(&["dog6_00.png", "dog6_01.png"], 25, Some("dog{prompt}_*"));
        assert!(
            text.contains("2 pictures are of 1 of 25 prompts") && text.contains("0 \"prompt 0\""),
            "{text}"
        );
    }
}
