//! Pictures and texts in a common space: `AlignModel` or `CLIPModel`, depending on the folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Result, Tensor, bail};
use image::RgbImage;
use ndarray::{Array2, Axis};
use rpo_nn::Place;
use serde::Deserialize;

use crate::bert::{BertConfig, BertModel};
use crate::clip::{ClipConfig, ClipTextModel, ClipVisionModel};
use crate::efficientnet::{EfficientNet, EfficientNetConfig};
use crate::embeddings::{BATCH, in_batches, unit_rows};
use crate::folder;
use crate::image_processor::ImageProcessor;
use crate::limits;
use crate::projection::Projection;
use crate::tokenizer::{ClipTokenizer, TokenBatch, WordPiece};

/// The model in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// `AlignModel`: EfficientNet and BERT.
    Align,
    /// `CLIPModel`: two transformers.
    Clip,
}

/// Two towers that embed pictures and texts into a common space, with their preprocessing. Every embedding has length 1.
#[derive(Clone)]
pub struct DualEncoder {
    towers: DualTowers,
    tokenizer: Tokenizer,
    processor: ImageProcessor,
    folder: PathBuf,
}

/// The towers alone, on pixels and token ids.
#[derive(Debug, Clone)]
pub struct DualTowers {
    towers: Towers,
    dim: usize,
    /// Rows of the text tower's table of tokens.
    rows: usize,
    /// Longest sequence of the text tower.
    positions: usize,
}

#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are two or three in a process"
)]
enum Towers {
    Align {
        image: EfficientNet,
        text: BertModel,
        projection: Projection,
    },
    Clip {
        image: ClipVisionModel,
        image_projection: Projection,
        text: ClipTextModel,
        text_projection: Projection,
    },
}

#[derive(Debug, Clone)]
enum Tokenizer {
    WordPiece(WordPiece),
    Clip(ClipTokenizer),
}

impl std::fmt::Debug for DualEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DualEncoder")
            .field("folder", &self.folder)
            .field("architecture", &self.architecture())
            .field("dim", &self.dim())
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct ConfigFile {
    model_type: Option<String>,
    #[serde(default)]
    architectures: Vec<String>,
}

#[derive(Deserialize)]
struct AlignFile {
    #[serde(default)]
    text_config: BertConfig,
    #[serde(default)]
    vision_config: EfficientNetConfig,
    #[serde(default = "align_projection")]
    projection_dim: usize,
}

fn align_projection() -> usize {
    640
}

impl AlignFile {
    fn check(&self) -> Result<()> {
        limits::within("projection_dim", self.projection_dim, 1, 1 << 16)?;
        self.text_config.check("text_config.")?;
        self.vision_config.check("vision_config.")
    }
}

impl DualTowers {
    /// Reads `config.json` and the weights of the folder `dir`; the towers compute at `place`, in f32.
    ///
    /// # Errors
    /// If a file is missing or malformed, of another model, or parts do not fit each other; those of the device.
    pub fn load(dir: &Path, place: &Place) -> Result<Self> {
        let place = &place.in_f32();
        match architecture_of(dir)? {
            Architecture::Align => Self::load_align(dir, place),
            Architecture::Clip => Self::load_clip(dir, place),
        }
    }

    fn load_align(dir: &Path, place: &Place) -> Result<Self> {
        let config: AlignFile = folder::read_config(dir)?;
        limits::in_file(dir, "config.json", config.check())?;
        let params = folder::open_params(dir, false)?;
        let scope = params.root();
        let image = EfficientNet::new(&config.vision_config, &scope.sub("vision_model"), place)?;
        let text = BertModel::new(&config.text_config, &scope.sub("text_model"), place)?;
        let dim = config.projection_dim;
        if image.width() != dim {
            bail!(
                "{}, key `projection_dim`: texts have {dim} numbers, but pictures {}",
                dir.join("config.json").display(),
                image.width()
            );
        }
        let projection = Projection::new(
            &scope.sub("text_projection"),
            config.text_config.hidden_size,
            dim,
            true,
            place,
        )?;
        // The pool after BERT, and the factor of the training loss.
        folder::all_read(dir, &params, |name| {
            name == "temperature" || name.starts_with("text_model.pooler.")
        })?;
        Ok(Self {
            towers: Towers::Align {
                image,
                text,
                projection,
            },
            dim,
            rows: config.text_config.vocab_size,
            positions: config.text_config.max_position_embeddings,
        })
    }

    fn load_clip(dir: &Path, place: &Place) -> Result<Self> {
        let config = ClipConfig::load(dir)?;
        let params = folder::open_params(dir, false)?;
        let scope = params.root();
        let dim = config.projection_dim;
        let towers = Towers::Clip {
            image: ClipVisionModel::new(&config.vision, &scope.sub("vision_model"), place)?,
            image_projection: Projection::new(
                &scope.sub("visual_projection"),
                config.vision.hidden_size,
                dim,
                false,
                place,
            )?,
            text: ClipTextModel::new(&config.text, &scope.sub("text_model"), place)?,
            text_projection: Projection::new(
                &scope.sub("text_projection"),
                config.text.hidden_size,
                dim,
                false,
                place,
            )?,
        };
        folder::all_read(dir, &params, |name| {
            name == "logit_scale" || name.ends_with("position_ids")
        })?;
        Ok(Self {
            towers,
            dim,
            rows: config.text.vocab_size,
            positions: config.text.max_position_embeddings,
        })
    }

    /// transformers' `get_image_features` of pixels `[B, H, W, 3]`: `[B, D]`, not divided by their lengths, on the CPU.
    ///
    /// # Errors
    /// Pixels of another size.
    pub fn image_features(&self, pixels: &Tensor) -> Result<Tensor> {
        match &self.towers {
            Towers::Align { image, .. } => image.forward(pixels),
            Towers::Clip {
                image,
                image_projection,
                ..
            } => image_projection.forward(&image.pooled(pixels)?),
        }
    }

    /// transformers' `get_text_features` of token rows `[B, D]`.
    ///
    /// # Errors
    /// Rows of different lengths, ids outside the vocabulary, a mask that does not fit or, for CLIP, hides tokens up to the end token.
    pub fn text_features(&self, tokens: &TokenBatch) -> Result<Tensor> {
        match &self.towers {
            Towers::Align {
                text, projection, ..
            } => projection.forward(&text.class_state(tokens)?),
            Towers::Clip {
                text,
                text_projection,
                ..
            } => {
                text.check_mask(tokens)?;
                text_projection.forward(&text.forward(&tokens.ids)?.pooled)
            }
        }
    }

    /// Which model this is.
    pub fn architecture(&self) -> Architecture {
        match self.towers {
            Towers::Align { .. } => Architecture::Align,
            Towers::Clip { .. } => Architecture::Clip,
        }
    }
}

fn architecture_of(dir: &Path) -> Result<Architecture> {
    let file: ConfigFile = folder::read_config(dir)?;
    let named = |name: &str, class: &str| match &file.model_type {
        Some(model_type) => model_type == name,
        None => file.architectures.iter().any(|a| a == class),
    };
    if named("align", "AlignModel") {
        Ok(Architecture::Align)
    } else if named("clip", "CLIPModel") {
        Ok(Architecture::Clip)
    } else {
        bail!(
            "{}, key `model_type`: {} is not an encoder of pictures and texts; it must be align or clip",
            dir.join("config.json").display(),
            file.model_type.as_deref().unwrap_or("(missing)")
        )
    }
}

impl DualEncoder {
    /// Reads `config.json`, the weights, `preprocessor_config.json` and the tokenizer of the folder `dir`; the towers compute at
    /// `place`, in f32.
    ///
    /// # Errors
    /// If a file is missing or malformed, of another model, or parts do not fit each other; those of the device.
    pub fn load(dir: &Path, place: &Place) -> Result<Self> {
        let towers = DualTowers::load(dir, place)?;
        let tokenizer = match towers.architecture() {
            Architecture::Align => {
                let tokenizer = WordPiece::load(dir)?;
                tokenizer.check_fit(towers.rows, dir)?;
                let length = tokenizer.max_length().min(towers.positions);
                Tokenizer::WordPiece(tokenizer.with_max_length(length)?)
            }
            Architecture::Clip => {
                let tokenizer = ClipTokenizer::load(dir)?;
                let length = tokenizer.max_length().min(towers.positions);
                let tokenizer = tokenizer.with_max_length(length)?;
                tokenizer.check_fit(towers.rows, towers.positions, dir)?;
                Tokenizer::Clip(tokenizer)
            }
        };
        Ok(Self {
            towers,
            tokenizer,
            processor: ImageProcessor::load(dir)?,
            folder: dir.to_path_buf(),
        })
    }

    /// The embeddings of the pictures, one per row: `get_image_features` of transformers, divided by its length.
    ///
    /// # Errors
    /// If a picture has no pixels or an embedding is not finite.
    pub fn embed_images(&self, pictures: &[RgbImage]) -> Result<Array2<f32>> {
        in_batches(&self.folder, pictures, self.dim(), |batch| {
            self.towers
                .image_features(&self.processor.preprocess(batch)?)
        })
    }

    /// The embeddings of the texts, one per row: `get_text_features` of transformers on texts padded to the longest, divided by
    /// its length. Equal texts are computed once.
    ///
    /// # Errors
    /// If an embedding is not finite.
    pub fn embed_texts(&self, texts: &[String]) -> Result<Array2<f32>> {
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut distinct: Vec<&str> = Vec::new();
        let rows: Vec<usize> = texts
            .iter()
            .map(|text| {
                *places.entry(text).or_insert_with(|| {
                    distinct.push(text);
                    distinct.len() - 1
                })
            })
            .collect();
        let mut all = Array2::zeros((distinct.len(), self.dim()));
        for (index, batch) in distinct.chunks(BATCH).enumerate() {
            let first = index * BATCH;
            let features = self.towers.text_features(&self.tokenize(batch)?)?;
            let rows = unit_rows(&features, |row| {
                format!("the text {:?} by {}", batch[row], self.folder.display())
            })?;
            all.slice_mut(ndarray::s![first..first + batch.len(), ..])
                .assign(&rows);
        }
        Ok(all.select(Axis(0), &rows))
    }

    fn tokenize(&self, texts: &[&str]) -> Result<TokenBatch> {
        match &self.tokenizer {
            Tokenizer::WordPiece(tokenizer) => tokenizer.encode_batch(texts),
            Tokenizer::Clip(tokenizer) => {
                let ids = tokenizer.encode_batch(texts)?;
                let mask = vec![vec![1; tokenizer.max_length()]; ids.len()];
                Ok(TokenBatch { ids, mask })
            }
        }
    }

    /// Number of tokens of a text, start and end included, and how many of them are read.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn tokens(&self, text: &str) -> Result<(usize, usize)> {
        let (words, read) = match &self.tokenizer {
            Tokenizer::WordPiece(t) => (t.word_ids(text)?, t.max_length()),
            Tokenizer::Clip(t) => (t.word_ids(text)?, t.max_length()),
        };
        Ok((words.len() + 2, read))
    }

    /// Length of an embedding.
    pub fn dim(&self) -> usize {
        self.towers.dim
    }

    /// Which model this is.
    pub fn architecture(&self) -> Architecture {
        self.towers.architecture()
    }

    /// The name of the folder, for tables and logs.
    pub fn name(&self) -> String {
        folder::name(&self.folder)
    }

    /// The folder it was read from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The files that determine the embeddings; hash them for a cache key.
    ///
    /// # Errors
    /// If the weights no longer exist.
    pub fn source_files(&self) -> Result<Vec<PathBuf>> {
        folder::source_files(&self.folder)
    }
}
