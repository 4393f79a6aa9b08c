//! `rpo-train eval`: scores pictures from any source.

mod files;
mod names;
mod prompts;
mod result;

use crate::device::DeviceArgs;
use crate::hub::{Content, Environment};
use crate::paths;
use crate::texts;
use anyhow::Result;
use clap::Args;
use files::Item;
use image::RgbImage;
use names::Pattern;
use prompts::{Assigned, Prompts, readings};
use result::{Column, EncoderInfo, Evaluation, PictureScores, SubjectScores};
use rpo_data::picture::{self, Limit};
use rpo_data::subject::{self, Subject, some};
use rpo_encoders::dual::Architecture;
use rpo_eval::metrics::{ImageJudge, TextJudge};
use rpo_eval::reward::Rewarder;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::tell;
use rpo_files::{console, destination, say};
use rpo_nn::Place;
use rpo_reward::{Lambda, Mean};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// λ of the harmonic means of the reward's pair.
const LAMBDAS: [f64; 3] = [0.3, 0.5, 0.7];

/// Arguments of `eval`.
#[derive(Args)]
pub(super) struct EvalArgs {
    /// Folder of the subject's photos, or a folder with one such folder per subject
    #[arg(long)]
    references: PathBuf,
    /// Folder of the pictures; with several subjects, one folder per subject, named alike
    #[arg(long)]
    pictures: PathBuf,
    /// Prompts, or one file (.txt by index, .csv .json .jsonl by picture), or `dreambench`; default: a text file beside every picture
    #[arg(long, num_args = 1..)]
    prompts: Vec<String>,
    /// Where the prompt's number is in a picture's path: `{subject}_{prompt}.png`, `*-{prompt}/*`; default: the only number that stands alone
    #[arg(long, value_name = "PATTERN")]
    names: Option<String>,
    /// Largest picture that is read, in millions of pixels
    #[arg(long, value_name = "NUMBER", default_value_t = Limit::MEGAPIXELS)]
    max_megapixels: f64,
    /// Folders of CLIP models, each with its own columns; default: the embedded one if none of --clip, --vit, --reward is given
    #[arg(long, num_args = 1..)]
    clip: Vec<String>,
    /// Folder of a ViT, for example DINO's
    #[arg(long)]
    vit: Option<String>,
    /// Folder of the reward's encoder, ALIGN in the paper
    #[arg(long)]
    reward: Option<String>,
    /// The subject's token in the prompts; "" for none
    #[arg(long, default_value = "[V]")]
    token: String,
    /// The subject's class, for prompts with a `{class}` placeholder
    #[arg(long, default_value = "")]
    class: String,
    #[command(flatten)]
    device: DeviceArgs,
    /// File for the result, with the scores of every picture
    #[arg(long, default_value = "eval.json")]
    out: PathBuf,
}

impl EvalArgs {
    fn limit(&self) -> Limit {
        Limit {
            megapixels: self.max_megapixels,
            key: "--max-megapixels",
        }
    }
}

/// The encoders that score the pictures.
struct Panel {
    clips: Vec<TextJudge>,
    vit: Option<ImageJudge>,
    reward: Option<Rewarder>,
    encoders: Vec<EncoderInfo>,
}

/// Scores all pictures, writes the result and prints its table.
pub(super) fn eval(args: &EvalArgs) -> Result<()> {
    if args.token.contains(['{', '}']) {
        return Err(BadInput::new(format!(
            "--token {}: braces stand around placeholders of prompts\n  hint: the token as the text encoder reads it",
            args.token
        )));
    }
    let subjects = subjects(args)?;
    let prompts = Prompts::read(&args.prompts)?;
    let pattern = args.names.as_deref().map(Pattern::parse).transpose();
    let pattern = pattern.map_err(|e| BadInput::new(format!("{e:#}")))?;
    // Errors in names are reported before an encoder is loaded.
    let mut notes = Vec::new();
    let mut items: Vec<Vec<Item>> = Vec::new();
    for (subject, pictures) in &subjects {
        let Assigned {
            items: found,
            unused,
        } = prompts.assign(pictures, subject, pattern.as_ref())?;
        if !unused.is_empty() {
            notes.push(format!(
                "{}: {} prompts have no picture: {}",
                subject.name,
                unused.len(),
                some(&unused, unused.len())
            ));
        }
        if !subject.passed_over.is_empty() {
            let names = some(&subject.passed_over, subject.passed_over.len());
            notes.push(format!(
                "{}: passed over among the references: {names}",
                subject.name
            ));
        }
        items.push(found);
    }
    for ((subject, _), items) in subjects.iter().zip(&items) {
        for item in items {
            readings(&item.prompt, &subject.token, &subject.class)?;
        }
    }
    // A result is recognised by its content; of the inputs, only a table of prompts could look like one.
    let table = args.prompts.iter().map(Path::new);
    destination::replaceable("--out", &args.out, table, |start| {
        destination::holds(start, "\"kernels_version\"")
    })?;
    let (place, device) = args.device.open("f32")?;
    let panel = Panel::load(args, &place)?;
    panel.warn(&subjects, &items)?;
    let scored = subjects
        .iter()
        .zip(items)
        .map(|((subject, _), items)| panel.score(subject, items, args.limit()))
        .collect::<Result<Vec<_>>>()?;
    let columns = panel.columns();
    let result = Evaluation::new(&args.token, device, columns, panel.encoders, scored, notes)?;
    crate::files::write_json(&args.out, &result)?;
    console::out(&result.to_text());
    say!("written {}", args.out.display());
    Ok(())
}

/// The subjects with their folders of pictures.
fn subjects(args: &EvalArgs) -> Result<Vec<(Subject, PathBuf)>> {
    let what = "--references";
    let subject::Listing {
        photos, folders, ..
    } = subject::list(&args.references).or_bad_input(what)?;
    // DreamBench lists the classes; elsewhere only a prompt with a class placeholder needs one.
    let load = |dir: &Path| -> Result<Subject> {
        let given = (!args.class.is_empty()).then_some(args.class.as_str());
        // Without a class, what is wrong with the photos is still found by reading them.
        let known = given.is_some() || subject::look(dir, None, &args.token).is_ok();
        let class = if known { given } else { Some("subject") };
        let mut found =
            subject::load_folder(dir, class, &args.token, args.limit()).or_bad_input(what)?;
        if !known {
            found.class.clear();
        }
        Ok(found)
    };
    if !photos.is_empty() || folders.is_empty() {
        return Ok(vec![(load(&args.references)?, args.pictures.clone())]);
    }
    folders
        .iter()
        .map(|dir| {
            let pictures = args.pictures.join(dir.file_name().unwrap_or_default());
            if !pictures.is_dir() {
                return Err(BadInput::new(format!(
                    "--references has the subject {}, but there is no folder {}\n  hint: draw its pictures, or give the references of those that were drawn",
                    dir.display(),
                    pictures.display()
                )));
            }
            Ok((load(dir)?, pictures))
        })
        .collect()
}

impl Panel {
    fn load(args: &EvalArgs, place: &Place) -> Result<Self> {
        let none = args.clip.is_empty() && args.vit.is_none() && args.reward.is_none();
        let or_embedded = |given: &Option<String>, name: &str| match none {
            true => Some(name.to_owned()),
            false => given.clone(),
        };
        let environment = Environment::of_process();
        let find = |name: &str| -> Result<PathBuf> {
            let found = paths::find_weights(
                name,
                Path::new("."),
                Content::Encoder,
                None,
                &environment,
                None,
            )?;
            Ok(found.folder)
        };
        let mut encoders = Vec::new();
        let mut clips: Vec<TextJudge> = Vec::new();
        let given = match none {
            true => vec!["micro/eval_clip".to_owned()],
            false => args.clip.clone(),
        };
        for name in &given {
            let judge = TextJudge::load(&find(name)?, place).or_bad_input("--clip")?;
            if judge.encoder().architecture() != Architecture::Clip {
                return Err(BadInput::new(format!(
                    "--clip {name}: this folder holds an AlignModel, not a CLIPModel\n  hint: --reward {name}"
                )));
            }
            encoders.push(EncoderInfo::new(
                "CLIP",
                name,
                &judge.encoder().source_files()?,
            )?);
            clips.push(judge);
        }
        let vit = match or_embedded(&args.vit, "micro/eval_dino") {
            None => None,
            Some(name) => {
                let judge = ImageJudge::load(&find(&name)?, place).or_bad_input("--vit")?;
                encoders.push(EncoderInfo::new(
                    "ViT",
                    &name,
                    &judge.encoder().source_files()?,
                )?);
                Some(judge)
            }
        };
        let reward = match or_embedded(&args.reward, "micro/reward") {
            None => None,
            Some(name) => {
                let rewarder = Rewarder::load(&find(&name)?, place).or_bad_input("--reward")?;
                encoders.push(EncoderInfo::new(
                    "reward",
                    &name,
                    &rewarder.encoder().source_files()?,
                )?);
                Some(rewarder)
            }
        };
        Ok(Self {
            clips,
            vit,
            reward,
            encoders,
        })
    }

    /// The columns of the table, in the order of [`Self::score`]'s values.
    fn columns(&self) -> Vec<Column> {
        let mut columns = Vec::new();
        let of = |part: &'static str| self.encoders.iter().filter(move |e| e.part == part);
        for encoder in of("CLIP") {
            columns.push(Column::new("CLIP-I", encoder, None));
            columns.push(Column::new("CLIP-T", encoder, Some(true)));
            columns.push(Column::new("CLIP-T", encoder, Some(false)));
        }
        for encoder in of("ViT") {
            columns.push(Column::new("ViT-I", encoder, None));
        }
        for encoder in of("reward") {
            columns.push(Column::new("ALIGN-I", encoder, None));
            for kept in [true, false] {
                columns.push(Column::new("ALIGN-T", encoder, Some(kept)));
                for lambda in LAMBDAS {
                    columns.push(Column::new(
                        &format!("{lambda}-Harmonic"),
                        encoder,
                        Some(kept),
                    ));
                }
            }
        }
        columns
    }

    /// Tells of prompts that an encoder truncates.
    fn warn(&self, subjects: &[(Subject, PathBuf)], items: &[Vec<Item>]) -> Result<()> {
        let mut prompts = BTreeSet::new();
        for ((subject, _), items) in subjects.iter().zip(items) {
            for item in items {
                let [with, _] = readings(&item.prompt, &subject.token, &subject.class)?;
                prompts.insert((with, subject.token.as_str()));
            }
        }
        let reward = self.reward.iter().map(Rewarder::encoder);
        for encoder in self.clips.iter().map(TextJudge::encoder).chain(reward) {
            for (prompt, token) in &prompts {
                let (name, by) = (texts::beginning(prompt), encoder.name());
                let tokens = |text: &str| Ok(encoder.tokens(text)?);
                if let Some(said) = texts::truncated(&name, prompt, token, &by, tokens)? {
                    tell!("warning: {said}");
                }
            }
        }
        Ok(())
    }

    fn score(&self, subject: &Subject, items: Vec<Item>, limit: Limit) -> Result<SubjectScores> {
        let pictures: Vec<RgbImage> = items
            .iter()
            .map(|item| Ok(picture::read(&item.path, limit)?.picture))
            .collect::<Result<_>>()
            .or_bad_input("--pictures")?;
        let mut texts = [Vec::new(), Vec::new()];
        for item in &items {
            for (all, one) in
                texts
                    .iter_mut()
                    .zip(readings(&item.prompt, &subject.token, &subject.class)?)
            {
                all.push(one);
            }
        }
        let references: Vec<RgbImage> = subject
            .references
            .iter()
            .map(|r| r.picture.clone())
            .collect();
        let mut columns: Vec<Vec<f64>> = Vec::new();
        for clip in &self.clips {
            let scores = clip.scores(&pictures, &references, &texts);
            let scores = scores.or_bad_input("--clip")?;
            columns.push(scores.image);
            columns.extend(scores.texts);
        }
        if let Some(vit) = &self.vit {
            let similar = vit.similarity(&pictures, &references);
            columns.push(similar.or_bad_input("--vit")?);
        }
        if let Some(rewarder) = &self.reward {
            let features = rewarder.references(&references).or_bad_input("--reward")?;
            for (reading, texts) in texts.iter().enumerate() {
                let scores = rewarder.score(&features, &pictures, texts);
                let scores = scores.or_bad_input("--reward")?;
                if reading == 0 {
                    columns.push(scores.iter().map(|s| s.image).collect());
                }
                columns.push(scores.iter().map(|s| s.text).collect());
                for lambda in LAMBDAS {
                    let lambda = Lambda::try_new(lambda)?;
                    let reward = |s: &_| Mean::Harmonic.reward(*s, lambda);
                    columns.push(scores.iter().map(reward).collect());
                }
            }
        }
        let [with, without] = texts;
        let pictures = items
            .into_iter()
            .zip(with.into_iter().zip(without))
            .enumerate()
            .map(
                |(i, (item, (prompt, prompt_without_token)))| PictureScores {
                    file: item.file,
                    prompt,
                    prompt_without_token,
                    scores: columns.iter().map(|column| column[i]).collect(),
                },
            )
            .collect();
        Ok(SubjectScores {
            subject: subject.name.clone(),
            class: subject.class.clone(),
            references: subject.references.iter().map(|r| r.name.clone()).collect(),
            pictures,
        })
    }
}
