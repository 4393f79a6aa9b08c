//! What is trained of the text encoders: the vectors of a new word, and the encoders themselves.

use super::adapters::read_lora;
use super::contract::{Base, Shapes, Unit};
use super::text_encoder::{ENCODERS, Encoder, is_trained};
use crate::runner::settings;
use crate::{export, files};
use anyhow::{Context, Result};
use candle_core::{Tensor, Var};
use rpo_data::subject::Subject;
use rpo_diffusion::lora::LoraModule;
use rpo_diffusion::textual_inversion::{self, FILE};
use rpo_diffusion::{Texts, Word};
use rpo_encoders::clip::{ClipTextConfig, ClipTextModel};
use rpo_experiment::{TextEncoder, Token};
use rpo_files::failure::OrBadInput;
use rpo_nn::weights::Params;
use std::collections::BTreeMap;
use std::path::Path;

/// Prefix of the vectors' names among all trained tensors.
pub(super) const TOKEN: &str = "token";

/// The files of a text encoder's folder.
const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";

/// How the text encoders are trained.
pub(super) struct Reading {
    token: Option<Token>,
    encoder: Option<TextEncoder>,
    /// Whether checkpoints have the encoders' adapters in the LoRA files of the U-Net's; else the encoders have folders.
    in_lora: bool,
}

impl Reading {
    /// `beside_lora`: whether the U-Net is trained by adapters.
    pub(super) fn new(
        token: Option<Token>,
        encoder: Option<TextEncoder>,
        beside_lora: bool,
    ) -> Self {
        Self {
            in_lora: beside_lora && encoder.as_ref().is_some_and(|keys| keys.rank > 0),
            token,
            encoder,
        }
    }

    /// The folder of kept checkpoints where nothing else is trained.
    pub(super) fn folder(&self) -> &'static str {
        match self.token {
            Some(_) => "textual_inversion",
            None => "text_encoder",
        }
    }

    pub(super) fn files(&self) -> Vec<String> {
        let word = self.token.as_ref().map(|_| FILE.to_owned());
        let in_folders = self.encoder.is_some() && !self.in_lora;
        let folders = ENCODERS.iter().filter(|_| in_folders);
        let of_encoders =
            folders.flat_map(|folder| [CONFIG, WEIGHTS].map(|f| format!("{folder}/{f}")));
        word.into_iter().chain(of_encoders).collect()
    }

    /// The file for other programs.
    pub(super) fn file(&self) -> Option<String> {
        (self.token.is_some() && self.encoder.is_none()).then(|| FILE.to_owned())
    }

    /// Numbers of a word's vectors.
    fn of_word(&self, model: Shapes) -> usize {
        let widths = model.texts.iter().map(|config| config.hidden_size);
        let vectors = self.token.as_ref().map_or(0, |token| token.vectors);
        vectors * widths.sum::<usize>()
    }

    pub(super) fn parameters(&self, model: Shapes) -> Result<usize> {
        let mut all = self.of_word(model);
        for (i, config) in model.texts.iter().enumerate() {
            let Some(keys) = &self.encoder else { continue };
            let xl = model.texts.len() > 1;
            let mut shapes = shapes(config, i, xl)?;
            shapes.retain(|(name, _)| is_trained(name, i, config, xl));
            all += match keys.rank {
                0 => shapes
                    .iter()
                    .map(|(_, s)| s.iter().product::<usize>())
                    .sum(),
                _ => settings::text_lora(keys).parameters(&shapes)?,
            };
        }
        Ok(all)
    }

    /// Numbers that a checkpoint holds: whole encoders where they have folders.
    pub(super) fn stored(&self, model: Shapes) -> Result<usize> {
        if self.encoder.is_none() || self.in_lora {
            return self.parameters(model);
        }
        let mut all = self.of_word(model);
        for (i, config) in model.texts.iter().enumerate() {
            let shapes = shapes(config, i, model.texts.len() > 1)?;
            let numbers = shapes.iter().map(|(_, s)| s.iter().product::<usize>());
            all += numbers.sum::<usize>();
        }
        Ok(all)
    }

    /// Starts at the model's own encoders, a word at the mean vector of its text's tokens.
    pub(super) fn start(
        &self,
        base: Base,
        subject: &Subject,
        unit: Unit,
    ) -> Result<TrainedReading> {
        let own = base.pipeline.texts();
        let word = match &self.token {
            None => None,
            Some(keys) => {
                let init = match keys.init.as_str() {
                    "" => &subject.class,
                    init => init,
                };
                let rows = own.mean_rows(init).context("token.init")?.into_iter();
                let rows = rows.map(|row| row.repeat((keys.vectors, 1)));
                Some(Word {
                    token: subject.token.clone(),
                    rows: rows.collect::<candle_core::Result<_>>()?,
                })
            }
        };
        TrainedReading::new(self, own, word, self.encoders(own, unit)?)
    }

    /// The model's own encoders, to be trained.
    fn encoders(&self, own: &Texts, unit: Unit) -> Result<Vec<Encoder>> {
        let mut encoders = Vec::new();
        if let Some(keys) = &self.encoder {
            let open = own.open()?;
            let xl = open.len() > 1;
            for (i, read) in open.into_iter().enumerate() {
                encoders.push(Encoder::new(keys, read, i, xl, unit)?);
            }
        }
        Ok(encoders)
    }

    /// Reads what was saved, for inference; adapters count `scale` times.
    pub(super) fn read(&self, base: Base, place: &Path, scale: f64) -> Result<TrainedReading> {
        let own = base.pipeline.texts();
        let word = match self.token {
            None => None,
            Some(_) => {
                let words =
                    textual_inversion::read(&place.join(FILE)).or_bad_input("checkpoint")?;
                words.into_iter().next()
            }
        };
        let encoders = match self.in_lora {
            true => self.in_lora_files(base, place, scale)?,
            false => self.in_folders(own, place)?,
        };
        TrainedReading::new(self, own, word, encoders)
    }

    fn in_folders(&self, own: &Texts, place: &Path) -> Result<Vec<Encoder>> {
        let mut encoders = self.encoders(own, &mut |_, n| vec![0.0; n])?;
        for (encoder, folder) in encoders.iter_mut().zip(ENCODERS) {
            let path = place.join(folder).join(WEIGHTS);
            let file = Params::open(&path, false).or_bad_input("checkpoint")?;
            encoder
                .set(&file)
                .with_context(|| path.display().to_string())?;
        }
        Ok(encoders)
    }

    fn in_lora_files(&self, base: Base, place: &Path, scale: f64) -> Result<Vec<Encoder>> {
        let lora = read_lora(base, place)?;
        let open = base.pipeline.texts().open()?;
        let encoders = open.into_iter().enumerate();
        let encoders = encoders.map(|(i, read)| {
            let modules = lora.text.get(i).cloned().unwrap_or_default();
            Encoder::adapted(read, &modules, scale)
        });
        let encoders = encoders.collect::<Result<Vec<_>>>();
        encoders.or_bad_input(place.display())
    }
}

/// Names and shapes of an encoder's tensors; SDXL's second one has a projection.
fn shapes(config: &ClipTextConfig, encoder: usize, xl: bool) -> Result<Vec<(String, Vec<usize>)>> {
    let mut shapes = ClipTextModel::shapes(config)?;
    if xl && encoder == 1 {
        let shape = vec![config.projection_dim, config.hidden_size];
        shapes.push(("text_projection.weight".to_owned(), shape));
    }
    Ok(shapes)
}

/// Trained vectors and encoders.
pub(super) struct TrainedReading {
    token: Option<String>,
    /// The vectors for each encoder.
    rows: Option<Params>,
    /// Norm of each vector at the start, where it is kept.
    norms: Vec<Vec<f32>>,
    encoders: Vec<Encoder>,
    /// As in [`Reading`].
    in_lora: bool,
    own: Texts,
    texts: Texts,
}

impl TrainedReading {
    fn new(
        keys: &Reading,
        own: &Texts,
        word: Option<Word>,
        encoders: Vec<Encoder>,
    ) -> Result<Self> {
        let (mut norms, mut rows) = (Vec::new(), None);
        if let Some(word) = &word {
            if keys.token.as_ref().is_some_and(|keys| keys.keep_norm) {
                let of = word.rows.iter().map(norms_of);
                norms = of.collect::<candle_core::Result<_>>()?;
            }
            let named = ENCODERS
                .map(String::from)
                .into_iter()
                .zip(word.rows.clone());
            rows = Some(Params::from_tensors(
                named,
                &format!("the word {}", word.token),
                true,
            )?);
        }
        let token = word.map(|word| word.token);
        let texts = texts(own, token.as_deref(), rows.as_ref(), &encoders, false)?;
        Ok(Self {
            token,
            rows,
            norms,
            encoders,
            in_lora: keys.in_lora,
            own: own.clone(),
            texts,
        })
    }

    /// The trained tensors and their prefixes.
    pub(super) fn params(&self) -> Vec<(&'static str, &Params)> {
        let rows = self.rows.iter().map(|rows| (TOKEN, rows));
        let encoders = ENCODERS.into_iter().zip(&self.encoders);
        rows.chain(encoders.map(|(name, encoder)| (name, encoder.params())))
            .collect()
    }

    pub(super) fn texts(&self) -> &Texts {
        &self.texts
    }

    /// The current encoders, without a graph.
    pub(super) fn frozen(&self) -> Result<Texts> {
        texts(
            &self.own,
            self.token.as_deref(),
            self.rows.as_ref(),
            &self.encoders,
            true,
        )
    }

    pub(super) fn words(&self) -> Result<Vec<Word>> {
        let (Some(token), Some(rows)) = (&self.token, &self.rows) else {
            return Ok(Vec::new());
        };
        let rows = rows.tensors_sorted()?.into_iter();
        Ok(vec![Word {
            token: token.clone(),
            rows: rows.map(|(_, rows)| rows).collect(),
        }])
    }

    pub(super) fn merged(&self) -> Result<Vec<Params>> {
        self.encoders.iter().map(Encoder::merged).collect()
    }

    /// The adapters of each encoder by the names of released ones, if they belong into the U-Net's LoRA files.
    pub(super) fn modules(&self) -> Result<Vec<BTreeMap<String, LoraModule>>> {
        let encoders = self.encoders.iter().filter(|_| self.in_lora);
        encoders.map(Encoder::modules).collect()
    }

    /// Hash of what is trained.
    pub(super) fn fingerprint(&self) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.token.as_deref().unwrap_or_default().as_bytes());
        let rows = self.rows.iter().map(|rows| (TOKEN, rows));
        let encoders = self.encoders.iter().map(Encoder::shown);
        for (name, params) in rows.chain(ENCODERS.into_iter().zip(encoders)) {
            hasher.update(name.as_bytes());
            hasher.update(files::fingerprint(&params.detached())?.as_bytes());
        }
        Ok(hasher.finalize().to_hex()[..32].to_owned())
    }

    /// Restores the vectors' norms where they are kept.
    pub(super) fn after_step(&self) -> Result<()> {
        let Some(rows) = self.rows.as_ref().filter(|_| !self.norms.is_empty()) else {
            return Ok(());
        };
        for ((_, var), norms) in rows.vars().iter().zip(&self.norms) {
            keep_norms(var, norms)?;
        }
        Ok(())
    }

    pub(super) fn save(&self, base: Base, place: &Path) -> Result<Vec<String>> {
        let mut written = Vec::new();
        for word in self.words()? {
            files::write(&place.join(FILE), &textual_inversion::to_bytes(&word)?)?;
            written.push(FILE.to_owned());
        }
        let in_folders = self.encoders.iter().filter(|_| !self.in_lora);
        for (encoder, folder) in in_folders.zip(ENCODERS) {
            let config = base.pipeline.folder.join(folder).join(CONFIG);
            export::copy_config(&config, &place.join(folder).join(CONFIG))?;
            encoder.merged()?.save(&place.join(folder).join(WEIGHTS))?;
            written.extend([CONFIG, WEIGHTS].map(|file| format!("{folder}/{file}")));
        }
        Ok(written)
    }
}

/// The model's own texts with what is trained; `constant`: without gradients.
fn texts(
    own: &Texts,
    token: Option<&str>,
    rows: Option<&Params>,
    encoders: &[Encoder],
    constant: bool,
) -> Result<Texts> {
    let kept = |params: &Params| match constant {
        true => params.constant(),
        false => params.clone(),
    };
    let models = encoders.iter().map(|e| e.model(&kept(&e.tensors)));
    let models: Vec<ClipTextModel> = models.collect::<Result<_>>()?;
    let texts = own.with_encoders(&models)?;
    let (Some(token), Some(rows)) = (token, rows) else {
        return Ok(texts);
    };
    let root = kept(rows).root();
    let shapes = rows.shapes().into_iter();
    let rows = shapes.map(|(name, shape)| root.tensor(&name, &shape));
    let word = Word {
        token: token.to_owned(),
        rows: rows.collect::<candle_core::Result<_>>()?,
    };
    Ok(texts.with_words(&[word])?)
}

/// The Euclidean norm of every row.
fn norms_of(rows: &Tensor) -> candle_core::Result<Vec<f32>> {
    rows.sqr()?.sum(1)?.sqrt()?.to_vec1()
}

/// Scales every row of a variable to a norm, in place.
fn keep_norms(rows: &Var, norms: &[f32]) -> candle_core::Result<()> {
    let now = norms_of(rows)?;
    let factors = norms.iter().zip(now);
    let factors: Vec<f32> = factors.map(|(then, now)| then / now.max(1e-12)).collect();
    let factors = Tensor::new(factors, rows.device())?.unsqueeze(1)?;
    rows.set(&rows.as_detached_tensor().broadcast_mul(&factors)?)
}
