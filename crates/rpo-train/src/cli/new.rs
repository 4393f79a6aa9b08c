//! `rpo-train new PHOTOS --class CLASS`: an experiment file for a subject of one's own, from the built-in one for a model.

use crate::shell::word;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use rpo_data::subject::look;
use rpo_experiment::built_in;
use rpo_experiment::plan::folder_name;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::{destination, say};
use std::path::{Path, PathBuf};

/// Names of folders that do not tell one subject from another.
const COMMON: [&str; 8] = [
    "photos", "images", "pictures", "img", "data", "input", "instance", "train",
];

/// Arguments of `new`.
#[derive(Args)]
pub(super) struct NewArgs {
    /// Folder with 4 to 6 photos of the subject
    photos: PathBuf,
    /// Class word of the subject, such as backpack, dog, woman
    #[arg(long)]
    class: String,
    /// The model: micro, the embedded one, shows how it works; sd15 and sdxl train a LoRA on the real weights
    #[arg(long, value_enum, default_value_t = Model::Micro)]
    model: Model,
    /// The rare word that stands for the subject in prompts; default: the model's
    #[arg(long)]
    token: Option<String>,
    /// Name of the run; default: the folder's
    #[arg(long)]
    name: Option<String>,
    /// Whether the subject is an animal or a person (true) or a thing (false); default: by its class
    #[arg(long)]
    live: Option<bool>,
    /// File to write; default: NAME.toml here
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Model {
    Micro,
    Sd15,
    Sdxl,
}

impl Model {
    fn experiment(self) -> &'static str {
        match self {
            Self::Micro => "my_subject",
            Self::Sd15 => "my_subject_sd15",
            Self::Sdxl => "my_subject_sdxl",
        }
    }
}

/// Writes the file and says what to run.
pub(super) fn new(args: &NewArgs) -> Result<()> {
    let class = args.class.trim();
    if class.is_empty() {
        return Err(BadInput::new(
            "--class: is empty\n  hint: the word for such a thing: --class backpack",
        ));
    }
    let found = look(
        &args.photos,
        Some(class),
        args.token.as_deref().unwrap_or("[v]"),
    )
    .or_bad_input("PHOTOS")?;
    let folder = folder_name(&found.name);
    let name = match &args.name {
        Some(name) => name.clone(),
        None if COMMON.contains(&folder.to_lowercase().as_str()) => folder_name(class),
        None => folder,
    };
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{name}.toml")));
    destination::free("--out", &out, false)?;
    let text = args.text(&name, &path_from(&args.photos, &out)?)?;
    // The file is read as it will be, so that what was given is checked by its keys.
    check(&text, &out)?;
    rpo_files::output::write(&out, text.as_bytes())?;
    let file = word(&out);
    say!(
        "wrote {file}: {} photos of \"{class}\" in {}",
        found.photos.len(),
        args.photos.display()
    );
    for note in &found.notes {
        say!("  {note}");
    }
    say!("next  rpo-train check {file}    what is read, time, memory and disk");
    say!("      rpo-train {file}          train, choose, test; stop it at any time");
    if matches!(args.model, Model::Micro) {
        say!(
            "The embedded model draws 64-pixel stickers and shows how it works; for your photos: --model sd15 or sdxl."
        );
    }
    Ok(())
}

/// # Errors
/// [`BadInput`] at the line of a value that the experiment's keys do not allow.
fn check(text: &str, out: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("new.toml");
    std::fs::write(&file, text)?;
    let read = rpo_experiment::read(&file, &[], &[]);
    let shown = file.display().to_string();
    let named = |e: anyhow::Error| {
        let said = format!("{e:#}").replace(&shown, &out.display().to_string());
        BadInput::new(format!("nothing was written: {said}"))
    };
    read.map(drop).map_err(named)
}

/// The photos' folder as the file should name it: as given, or absolute where the file is elsewhere.
fn path_from(photos: &Path, out: &Path) -> Result<String> {
    let here = out
        .parent()
        .is_none_or(|parent| parent.as_os_str().is_empty());
    let path = match here {
        true => photos.to_path_buf(),
        false => std::path::absolute(photos)?,
    };
    let text = path.to_str().map(str::to_owned);
    text.with_context(|| format!("{}: not UTF-8", path.display()))
        .or_bad_input("PHOTOS")
}

impl NewArgs {
    fn text(&self, name: &str, photos: &str) -> Result<String> {
        let wanted = Path::new(self.model.experiment());
        let template = built_in::experiment(wanted)
            .context("a built-in experiment")?
            .text;
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let mut values = vec![
            ("", "name", quoted(name)),
            ("subjects", "path", quoted(photos)),
            ("subjects", "class", quoted(self.class.trim())),
        ];
        if let Some(token) = &self.token {
            values.push(("subjects", "token", quoted(token)));
        }
        if let Some(live) = self.live {
            values.push(("subjects", "live", live.to_string()));
        }
        let own = format!("runs/{}-<", self.model.experiment());
        let template = template.replace(&own, &format!("runs/{name}-<"));
        Ok(filled(&template, &values))
    }
}

/// The text with some values of its tables replaced; keys that it lacks follow at the end of their table. Comments stay.
fn filled(template: &str, values: &[(&str, &str, String)]) -> String {
    /// Column of the comments.
    const COMMENT: usize = 34;
    let (mut lines, mut table) = (Vec::new(), "");
    let mut left: Vec<_> = values.iter().collect();
    for line in template.lines() {
        let header = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Some(next) = header {
            insert(&mut lines, &mut left, table);
            table = next;
        }
        let key = line.split_once('=').map_or("", |(key, _)| key.trim());
        let place = left.iter().position(|(t, k, _)| *t == table && *k == key);
        let Some(place) = place else {
            lines.push(line.to_owned());
            continue;
        };
        let (_, _, value) = left.remove(place);
        let new = format!("{key} = {value}");
        let gap = COMMENT.saturating_sub(new.chars().count()).max(1);
        // A `#` within the old value is not expected in built-in files.
        lines.push(match line.split_once('#') {
            Some((_, comment)) => format!("{new}{}#{comment}", " ".repeat(gap)),
            None => new,
        });
    }
    insert(&mut lines, &mut left, table);
    lines.join("\n") + "\n"
}

/// Puts the keys that a table lacks behind its last line.
fn insert(lines: &mut Vec<String>, left: &mut Vec<&(&str, &str, String)>, table: &str) {
    let end = lines
        .iter()
        .rposition(|line| !line.trim().is_empty())
        .map_or(0, |i| i + 1);
    let (own, others): (Vec<_>, Vec<_>) = left.drain(..).partition(|(t, ..)| *t == table);
    *left = others;
    for (i, (_, key, value)) in own.into_iter().enumerate() {
        lines.insert(end + i, format!("{key} = {value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::filled;

    #[test]
    fn values_are_replaced_in_their_tables_and_comments_stay() {
        let template = "# head\nname = \"a\"  # the run\n\n[model]\npath = \"micro\"\n\n[subjects]\npath = \"photos\"   # photos\n\n[rules]\nlast = false\n";
        let values = [
            ("", "name", "\"rex\"".to_owned()),
            ("subjects", "path", "\"my photos\"".to_owned()),
            ("subjects", "live", "true".to_owned()),
        ];
        let expected = "# head\nname = \"rex\"                      # the run\n\n[model]\npath = \"micro\"\n\n[subjects]\npath = \"my photos\"                # photos\nlive = true\n\n[rules]\nlast = false\n";
        assert_eq!(filled(template, &values), expected);
    }
}
