//! What judges and reward give to true renders of subjects: how far a perfect model would get, and how far a model that copies a
//! reference or knows only the noun.

use anyhow::{Context, Result};
use image::RgbImage;
use rpo_data::prompts::fill;
use rpo_data::random;
use rpo_data::stickerbench::caption::Caption;
use rpo_data::stickerbench::sticker::Look;
use rpo_data::stickerbench::world::{self, Picture};
use rpo_data::stickerbench::{REFERENCE_SCENES, SIDE, named, names, prompts};
use rpo_data::subject::Subject;
use rpo_diffusion::Pipeline;
use rpo_eval::masked::MaskedColumn;
use rpo_eval::metrics::{ImageJudge, TextJudge};
use rpo_eval::reward::Rewarder;
use rpo_eval::scorer::{ClipColumns, ImageColumn, Scored, Scorer};
use rpo_nn::Place;
use rpo_reward::{Lambda, Mean};
use std::path::Path;

/// λ of the two rewards.
const LAMBDAS: [f64; 2] = [0.3, 0.5];

/// Renders of every test prompt.
const EACH: usize = 2;

/// What is drawn for a test prompt.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Subject,
    Decoded,
    Noun,
    Copied,
}

impl Kind {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Subject, "the subject, as prompted"),
        (Self::Decoded, "… through the VAE"),
        (Self::Noun, "the plain noun, as prompted"),
        (Self::Copied, "the subject as in its references"),
    ];

    fn render(self, caption: &Caption, look: &Look, at: usize, key: &[&str]) -> RgbImage {
        let mut rng = random::stream(crate::sheet::SEED, "judged renders", key);
        world::draw(&match self {
            Self::Subject | Self::Decoded => Picture::of_caption(caption, look.clone(), &mut rng),
            Self::Noun => Picture::of_caption(caption, Look::plain(&look.noun), &mut rng),
            Self::Copied => {
                let scene = REFERENCE_SCENES[at % REFERENCE_SCENES.len()];
                Picture::sample(look.clone(), None, scene, &mut rng)
            }
        })
    }
}

/// Mean scores of renders over subjects, prompts and pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was rendered.
    pub what: &'static str,
    /// The kind of the prompts; all without one.
    pub prompts: Option<String>,
    /// Column and mean.
    pub scores: Vec<(String, f64)>,
}

/// Column and score of every picture.
type Columns = Vec<(String, Vec<f64>)>;

/// The judges of a test and the reward's encoder.
pub struct Judged {
    scorers: Vec<Box<dyn Scorer>>,
    reward: Rewarder,
}

impl Judged {
    /// Reads `eval_dino`, `eval_clip` and `reward` of a folder such as `assets/micro`.
    ///
    /// # Errors
    /// An encoder that is missing or incomplete, by its folder.
    pub fn load(model: &Path) -> Result<Self> {
        let place = Place::default();
        Ok(Self {
            scorers: vec![
                Box::new(ImageColumn {
                    judge: ImageJudge::load(&model.join("eval_dino"), &place)?,
                    name: "ViT-I".into(),
                    computed_by: String::new(),
                }),
                Box::new(ClipColumns {
                    judge: TextJudge::load(&model.join("eval_clip"), &place)?,
                    computed_by: String::new(),
                    reading: String::new(),
                }),
                Box::new(MaskedColumn::default()),
            ],
            reward: Rewarder::load(&model.join("reward"), &place)?,
        })
    }

    /// Scores renders of the test prompts of the first `count` subjects of `seed`, without the token, against their references.
    ///
    /// # Errors
    /// Those of the encoders and of the VAE.
    pub fn rows(&self, pipeline: &Pipeline, seed: u64, count: usize) -> Result<Vec<Row>> {
        let subjects = named(seed, &names(seed, count), SIDE);
        let kinds = &prompts().kinds.test;
        let of: Vec<Option<&str>> = kinds
            .iter()
            .map(Option::as_deref)
            .flat_map(|k| [k; EACH])
            .collect();
        let mut asked: Vec<Option<&str>> = vec![None];
        for kind in of.iter().filter(|kind| kind.is_some()) {
            if !asked.contains(kind) {
                asked.push(*kind);
            }
        }
        let mut rows = Vec::new();
        for (kind, what) in Kind::ALL {
            let all = subjects.iter().map(|s| self.subject(pipeline, s, kind));
            let all = all.collect::<Result<Vec<Columns>>>()?;
            for asked in &asked {
                let mean = |column: usize| {
                    let values = all
                        .iter()
                        .flat_map(|columns| columns[column].1.iter().zip(&of));
                    let kept: Vec<f64> = values
                        .filter(|(_, of)| asked.is_none() || *of == asked)
                        .map(|(v, _)| *v)
                        .collect();
                    kept.iter().sum::<f64>() / kept.len() as f64
                };
                let names = all
                    .first()
                    .map_or(&[][..], Vec::as_slice)
                    .iter()
                    .enumerate();
                rows.push(Row {
                    what,
                    prompts: asked.map(str::to_owned),
                    scores: names
                        .map(|(i, (name, _))| (name.clone(), mean(i)))
                        .collect(),
                });
            }
        }
        Ok(rows)
    }

    fn subject(&self, pipeline: &Pipeline, subject: &Subject, kind: Kind) -> Result<Columns> {
        let look = subject
            .look
            .as_ref()
            .context("a rendered subject has a look")?;
        let texts: Vec<String> = prompts()
            .test
            .iter()
            .flat_map(|prompt| vec![fill(prompt, None, &subject.class); EACH])
            .collect();
        let render = |(i, text): (usize, &String)| {
            let caption = Caption::parse(text).with_context(|| format!("\"{text}\""))?;
            Ok(kind.render(&caption, look, i, &[&subject.name, &i.to_string()]))
        };
        let mut pictures: Vec<RgbImage> = texts
            .iter()
            .enumerate()
            .map(render)
            .collect::<Result<_>>()?;
        if let Kind::Decoded = kind {
            pictures = pipeline.decode(&pipeline.encode_pictures(&pictures)?.mean, 16)?;
        }
        let references: Vec<RgbImage> = subject
            .references
            .iter()
            .map(|r| r.picture.clone())
            .collect();
        let scored = Scored {
            pictures: &pictures,
            references: &references,
            texts: &texts,
            look: Some(look),
        };
        let mut all = Vec::new();
        for scorer in &self.scorers {
            let columns = scorer.columns().into_iter().zip(scorer.values(scored)?);
            all.extend(columns.map(|(column, values)| (column.name, values)));
        }
        let features = self.reward.references(&references)?;
        let pairs = self.reward.score(&features, &pictures, &texts)?;
        for lambda in LAMBDAS {
            let at = Lambda::try_new(lambda)?;
            let values: Vec<f64> = pairs
                .iter()
                .map(|pair| Mean::Harmonic.reward(*pair, at))
                .collect();
            all.push((format!("{lambda}-Harmonic"), values));
        }
        Ok(all)
    }
}

/// Rows as text.
pub fn table(rows: &[Row]) -> String {
    let Some(first) = rows.first() else {
        return String::new();
    };
    let names: String = first
        .scores
        .iter()
        .map(|(name, _)| format!("{name:>14}"))
        .collect();
    let mut text = format!("{:<34}{names}\n", "");
    for row in rows {
        let values: String = row
            .scores
            .iter()
            .map(|(_, v)| format!("{v:>14.3}"))
            .collect();
        let what = match &row.prompts {
            Some(prompts) => format!("    {prompts}"),
            None => row.what.to_owned(),
        };
        text += &format!("{what:<34}{values}\n");
    }
    text
}
