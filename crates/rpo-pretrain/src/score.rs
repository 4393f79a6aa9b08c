//! How well a U-Net draws its captions, by the embedded judges, compared with true renders of the same captions.
//!
//! 76 nouns, eight pictures each. A judge *names* the noun, scene, colour or accessory of a picture if, among captions that
//! differ in that word, the true one is nearest. The nearest class mean of ViT features needs no text.

use crate::sheet;
use anyhow::{Result, bail};
use image::RgbImage;
use ndarray::{Array2, Axis};
use rpo_data::random;
use rpo_data::stickerbench::caption::{Caption, ColourWord};
use rpo_data::stickerbench::scene::Scene;
use rpo_data::stickerbench::sprites::{Accessory, NOUNS};
use rpo_data::stickerbench::sticker::Look;
use rpo_data::stickerbench::world::{self, Picture};
use rpo_encoders::dual::DualEncoder;
use rpo_encoders::vit::VitEncoder;
use serde::Serialize;

/// Pictures per noun.
pub const PER_NOUN: usize = 8;

/// Renders per noun for its mean of ViT features.
const VIEWS: usize = 16;

/// The scored captions.
pub fn captions() -> Vec<Caption> {
    let mut rng = random::stream(sheet::SEED, "scored captions", &[]);
    NOUNS
        .iter()
        .flat_map(|noun| (0..PER_NOUN).map(move |k| (noun, k)))
        .map(|(noun, k)| sheet::caption(noun, k, &mut rng))
        .collect()
}

/// True renders of captions, of plain stickers.
pub fn renders(captions: &[Caption], purpose: &str) -> Vec<RgbImage> {
    let render = |(i, c): (usize, &Caption)| {
        let mut rng = random::stream(sheet::SEED, purpose, &[&i.to_string()]);
        world::draw(&Picture::of_caption(c, Look::plain(&c.noun), &mut rng))
    };
    captions.iter().enumerate().map(render).collect()
}

/// A caption in variants that differ in one word, and the index of the true one.
struct Question {
    picture: usize,
    asked: usize,
    texts: Vec<String>,
}

fn exchanged<T: Copy + PartialEq>(
    captions: &[Caption],
    all: &[T],
    own: impl Fn(&Caption) -> Option<T>,
    with: impl Fn(&Caption, T) -> Caption,
) -> Vec<Question> {
    let question = |(picture, c): (usize, &Caption)| {
        let own = own(c)?;
        Some(Question {
            picture,
            asked: all.iter().position(|word| *word == own)?,
            texts: all.iter().map(|&word| with(c, word).to_string()).collect(),
        })
    };
    captions.iter().enumerate().filter_map(question).collect()
}

/// The questions about one kind of word, with the embeddings of their texts.
struct Asked {
    picture: Vec<usize>,
    asked: Vec<usize>,
    texts: Vec<Array2<f32>>,
}

impl Asked {
    fn of(clip: &DualEncoder, questions: Vec<Question>) -> Result<Self> {
        let texts = questions.iter().map(|q| clip.embed_texts(&q.texts));
        Ok(Self {
            texts: texts.collect::<candle_core::Result<_>>()?,
            picture: questions.iter().map(|q| q.picture).collect(),
            asked: questions.iter().map(|q| q.asked).collect(),
        })
    }

    /// The fraction of questions answered with the true word: nearer than every other, without ties.
    fn named(&self, pictures: &Array2<f32>) -> Proportion {
        let right = (0..self.asked.len()).filter(|&i| {
            let scores = self.texts[i].dot(&pictures.row(self.picture[i]));
            wins(&scores.to_vec(), self.asked[i])
        });
        Proportion {
            part: right.count() as f64 / self.asked.len().max(1) as f64,
            of: self.asked.len(),
            chance: 1. / self.texts.first().map_or(1, Array2::nrows) as f64,
        }
    }
}

fn wins(scores: &[f32], asked: usize) -> bool {
    let others = scores.iter().enumerate().filter(|(i, _)| *i != asked);
    others.map(|(_, s)| s).all(|s| *s < scores[asked])
}

/// A proportion of trials.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Proportion {
    /// From 0 to 1.
    pub part: f64,
    /// Trials.
    pub of: usize,
    /// The proportion by chance.
    pub chance: f64,
}

impl Proportion {
    /// Standard error of a proportion.
    pub fn error(self) -> f64 {
        (self.part * (1. - self.part) / self.of.max(1) as f64).sqrt()
    }
}

impl std::fmt::Display for Proportion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} ±{:.3}", self.part, self.error())
    }
}

/// Scores of a set of pictures.
#[derive(Clone, Debug, Serialize)]
pub struct Scores {
    /// Nouns that CLIP names, of 76.
    pub noun: Proportion,
    /// Nouns by the nearest class mean of ViT features.
    pub noun_without_text: Proportion,
    /// Scenes that CLIP names, of 16.
    pub scene: Proportion,
    /// Colours that CLIP names, of 8, in captions with a colour.
    pub colour: Proportion,
    /// Accessories that CLIP names, of 5, in captions with an accessory.
    pub accessory: Proportion,
    /// Mean cosine of picture and caption.
    pub clip_t: f64,
}

impl Scores {
    fn parts(&self) -> [(&'static str, Proportion); 5] {
        [
            ("noun", self.noun),
            ("noun, no text", self.noun_without_text),
            ("scene", self.scene),
            ("colour", self.colour),
            ("accessory", self.accessory),
        ]
    }
}

/// Scores as text: one row per set of pictures, and rows for the trials and for chance. After ± is the standard error.
pub fn table(rows: &[(&str, Scores)]) -> String {
    let Some((_, first)) = rows.first() else {
        return String::new();
    };
    let line = |name: &str, cells: [String; 5], last: String| {
        let cells: String = cells.iter().map(|c| format!("{c:<15}")).collect();
        format!("{name:<30}{cells}{last}\n")
    };
    let head = first.parts();
    let mut text = line(
        "",
        head.map(|(name, _)| name.to_owned()),
        "CLIP-T".to_owned(),
    );
    for (name, scores) in rows {
        let cells = scores.parts().map(|(_, part)| part.to_string());
        text += &line(name, cells, format!("{:.4}", scores.clip_t));
    }
    text += &line(
        "guessing",
        head.map(|(_, p)| format!("{:.3}", p.chance)),
        String::new(),
    );
    text + &line(
        "pictures",
        head.map(|(_, p)| p.of.to_string()),
        String::new(),
    )
}

/// The judges, with everything precomputed that depends on the captions only.
pub struct Judges {
    clip: DualEncoder,
    vit: VitEncoder,
    captions: Vec<Caption>,
    own: Array2<f32>,
    means: Array2<f32>,
    nouns: Asked,
    scenes: Asked,
    colours: Asked,
    accessories: Asked,
}

impl Judges {
    /// Judges for pictures of `captions`.
    ///
    /// # Errors
    /// Those of the encoders.
    pub fn new(clip: DualEncoder, vit: VitEncoder, captions: Vec<Caption>) -> Result<Self> {
        let nouns = exchanged(
            &captions,
            &NOUNS,
            |c| NOUNS.into_iter().find(|n| *n == c.noun),
            |c, noun| Caption {
                noun: noun.to_owned(),
                ..c.clone()
            },
        );
        let scenes = exchanged(
            &captions,
            &Scene::ALL,
            |c| c.scene,
            |c, scene| Caption {
                scene: Some(scene),
                ..c.clone()
            },
        );
        let colours = exchanged(
            &captions,
            &ColourWord::ALL,
            |c| c.colour,
            |c, colour| Caption {
                colour: Some(colour),
                ..c.clone()
            },
        );
        let accessories = exchanged(
            &captions,
            &Accessory::ALL,
            |c| c.accessory,
            |c, accessory| Caption {
                accessory: Some(accessory),
                ..c.clone()
            },
        );
        let texts: Vec<String> = captions.iter().map(ToString::to_string).collect();
        Ok(Self {
            own: clip.embed_texts(&texts)?,
            means: class_means(&vit)?,
            nouns: Asked::of(&clip, nouns)?,
            scenes: Asked::of(&clip, scenes)?,
            colours: Asked::of(&clip, colours)?,
            accessories: Asked::of(&clip, accessories)?,
            captions,
            clip,
            vit,
        })
    }

    /// Scores one picture per caption, in the same order.
    ///
    /// # Errors
    /// Those of the encoders.
    pub fn score(&self, pictures: &[RgbImage]) -> Result<Scores> {
        let n = self.captions.len();
        if pictures.len() != n {
            bail!("{} pictures of {n} captions", pictures.len())
        }
        let by_clip = self.clip.embed_images(pictures)?;
        let by_vit = self.vit.embed_images(pictures)?.dot(&self.means.t());
        let found = |i: &usize| {
            let asked = NOUNS
                .iter()
                .position(|noun| *noun == self.captions[*i].noun);
            asked.is_some_and(|asked| wins(&by_vit.row(*i).to_vec(), asked))
        };
        let own = (&by_clip * &self.own).sum_axis(Axis(1));
        Ok(Scores {
            noun: self.nouns.named(&by_clip),
            noun_without_text: Proportion {
                part: (0..n).filter(found).count() as f64 / n.max(1) as f64,
                of: n,
                chance: 1. / NOUNS.len() as f64,
            },
            scene: self.scenes.named(&by_clip),
            colour: self.colours.named(&by_clip),
            accessory: self.accessories.named(&by_clip),
            clip_t: own.iter().map(|&s| f64::from(s)).sum::<f64>() / n as f64,
        })
    }
}

/// The unit mean of the ViT features of true renders of each noun, with captions of `sheet::caption`.
fn class_means(vit: &VitEncoder) -> Result<Array2<f32>> {
    let mut rng = random::stream(sheet::SEED, "class mean captions", &[]);
    let asked: Vec<Caption> = NOUNS
        .iter()
        .flat_map(|noun| (0..VIEWS).map(move |k| (noun, k)))
        .map(|(noun, k)| sheet::caption(noun, k, &mut rng))
        .collect();
    let features = vit.embed_images(&renders(&asked, "class mean renders"))?;
    let mut means = Array2::zeros((NOUNS.len(), features.ncols()));
    for (i, row) in features.rows().into_iter().enumerate() {
        let mut mean = means.row_mut(i / VIEWS);
        mean += &row;
    }
    for mut row in means.rows_mut() {
        let norm = row.dot(&row).sqrt();
        row /= norm;
    }
    Ok(means)
}
