//! What `eval` writes and prints.

use anyhow::Result;
use rpo_files::failure::OrBadInput;
use rpo_stats::{Interval, Sample, by_subject, paper_std};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

/// The encoder behind a score.
#[derive(Clone, Debug, Serialize)]
pub(super) struct EncoderInfo {
    /// `CLIP`, `ViT` or `reward`.
    pub(super) part: String,
    /// As given.
    pub(super) folder: String,
    /// Hash of its configurations, tokenizer and weights.
    pub(super) hash: String,
}

impl EncoderInfo {
    pub(super) fn new(part: &str, folder: &str, files: &[PathBuf]) -> Result<Self> {
        let mut hasher = blake3::Hasher::new();
        for path in files {
            hasher.update(path.file_name().unwrap_or_default().as_encoded_bytes());
            let file = std::fs::File::open(path).or_bad_input(path.display())?;
            hasher.update_reader(file).or_bad_input(path.display())?;
        }
        Ok(Self {
            part: part.to_owned(),
            folder: folder.to_owned(),
            hash: hasher.finalize().to_hex()[..16].to_owned(),
        })
    }
}

/// A score of each picture.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Column {
    /// `CLIP-I`, `CLIP-T`, `ViT-I`, `ALIGN-I`, `ALIGN-T`, `0.3-Harmonic` …
    pub(super) metric: String,
    /// The encoder's folder.
    encoder: String,
    /// Its hash.
    hash: String,
    /// Whether the text that the encoder read has the subject's token; absent if it reads no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_in_text: Option<bool>,
}

impl Column {
    pub(super) fn new(metric: &str, encoder: &EncoderInfo, token_in_text: Option<bool>) -> Self {
        Self {
            metric: metric.to_owned(),
            encoder: encoder.folder.clone(),
            hash: encoder.hash.clone(),
            token_in_text,
        }
    }
}

/// A column's summary.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    #[serde(flatten)]
    column: Column,
    /// Mean over subjects of the subject's mean over its pictures.
    mean: f64,
    /// 95 % interval of that mean over subjects; absent for one subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<(f64, f64)>,
    /// Standard deviation over (subject, prompt) of the mean over its pictures, as the paper gives it; absent for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    std_prompts: Option<f64>,
    /// Standard deviation over all pictures.
    std_pictures: f64,
}

/// The scores of one picture.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PictureScores {
    pub(super) file: String,
    pub(super) prompt: String,
    pub(super) prompt_without_token: String,
    /// In the order of the columns.
    pub(super) scores: Vec<f64>,
}

/// The scores of one subject's pictures.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SubjectScores {
    pub(super) subject: String,
    pub(super) class: String,
    pub(super) references: Vec<String>,
    pub(super) pictures: Vec<PictureScores>,
}

/// `eval.json`
#[derive(Clone, Debug, Serialize)]
pub(super) struct Evaluation {
    /// Version of the kernels: scores of different versions may differ in the last bits.
    kernels_version: u32,
    /// Device of the encoders; absent for the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    token: String,
    encoders: Vec<EncoderInfo>,
    /// Numbers of subjects, references, prompts (distinct texts) and pictures.
    counts: Counts,
    table: Vec<Summary>,
    columns: Vec<Column>,
    subjects: Vec<SubjectScores>,
    notes: Vec<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Counts {
    subjects: usize,
    references: usize,
    prompts: usize,
    pictures: usize,
}

impl Evaluation {
    /// Averages the columns.
    ///
    /// # Errors
    /// A score that is not finite, named by subject and prompt.
    pub(super) fn new(
        token: &str,
        device: Option<String>,
        columns: Vec<Column>,
        encoders: Vec<EncoderInfo>,
        subjects: Vec<SubjectScores>,
        mut notes: Vec<String>,
    ) -> Result<Self> {
        let all = || {
            subjects
                .iter()
                .flat_map(|s| s.pictures.iter().map(move |p| (&s.subject, p)))
        };
        let mut table = Vec::with_capacity(columns.len());
        for (index, column) in columns.iter().enumerate() {
            let samples: Vec<Sample> = all()
                .map(|(subject, picture)| Sample {
                    subject: subject.clone(),
                    pair: String::new(),
                    prompt: picture.prompt.clone(),
                    value: picture.scores[index],
                })
                .collect();
            let means: Vec<f64> = by_subject(&samples)?.into_values().collect();
            let mean = Interval::of(&means)?;
            let values: Vec<f64> = samples.iter().map(|s| s.value).collect();
            table.push(Summary {
                column: column.clone(),
                mean: mean.mean,
                interval: mean.interval,
                std_prompts: paper_std(&samples)?,
                std_pictures: Interval::of(&values)?.std,
            });
        }
        let prompts: BTreeSet<&str> = all().map(|(_, p)| p.prompt.as_str()).collect();
        let counts = Counts {
            subjects: subjects.len(),
            references: subjects.iter().map(|s| s.references.len()).sum(),
            prompts: prompts.len(),
            pictures: all().count(),
        };
        let plain = all()
            .filter(|(_, p)| p.prompt == p.prompt_without_token)
            .count();
        if token.trim().is_empty() {
            notes.push(
                "no token was given: with and without it every prompt is the same text".into(),
            );
        } else if plain > 0 {
            notes.push(format!(
                "{plain} of {} prompts have no token {token}: with and without it they are the same text",
                counts.pictures
            ));
        }
        Ok(Self {
            device,
            kernels_version: rpo_nn::KERNELS_VERSION,
            token: token.to_owned(),
            encoders,
            counts,
            table,
            columns,
            subjects,
            notes,
        })
    }

    /// One line per metric, then the encoders.
    pub(super) fn to_text(&self) -> String {
        let Counts {
            subjects,
            references,
            prompts,
            pictures,
        } = self.counts;
        let mut text = format!(
            "{pictures} pictures of {prompts} prompts, {subjects} subject(s), {references} reference(s), {}\n\n",
            match self.token.trim() {
                "" => "no token".to_owned(),
                token => format!("token {token}"),
            }
        );
        let width = self.table.iter().map(|s| s.column.encoder.chars().count());
        let width = width.max().unwrap_or(0).max("encoder".len());
        let _ = writeln!(
            text,
            "{:<14}{:<width$}  {:<16}{:>8}{:>14}{:>14}",
            "metric", "encoder", "text", "mean", "std prompts", "std pictures"
        );
        for summary in &self.table {
            let reading = match summary.column.token_in_text {
                None => "",
                Some(true) => "with token",
                Some(false) => "without token",
            };
            let prompts = summary
                .std_prompts
                .map_or_else(|| "-".to_owned(), |std| format!("{std:.4}"));
            let _ = writeln!(
                text,
                "{:<14}{:<width$}  {reading:<16}{:>8.4}{prompts:>14}{:>14.4}",
                summary.column.metric, summary.column.encoder, summary.mean, summary.std_pictures
            );
        }
        text.push('\n');
        for encoder in &self.encoders {
            let _ = writeln!(
                text,
                "{} {}: {}",
                encoder.part, encoder.folder, encoder.hash
            );
        }
        for note in &self.notes {
            let _ = writeln!(text, "Note: {note}.");
        }
        text
    }
}
