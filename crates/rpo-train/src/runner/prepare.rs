//! The constant inputs of training: latents of references and negatives, text states, preference probabilities.

use super::class_squares;
use super::draw::{Drawer, Request};
use super::image_encoder;
use super::masks;
use super::network::Network as Drawn;
use super::prompted::Prompted;
use super::setup::Setup;
use crate::files;
use crate::progress::Progress;
use anyhow::{Context, Result};
use candle_core::Tensor;
use image::RgbImage;
use image::imageops::flip_horizontal;
use rand::RngCore;
use rpo_data::augment::{self, PREFIXES};
use rpo_data::mask::Mask;
use rpo_data::prompts::without_token;
use rpo_data::{picture, random};
use rpo_diffusion::Posterior;
use rpo_eval::reward::RefFeatures;
use rpo_experiment::plan::{Cell, Purpose};
use rpo_experiment::run::{Folder, Phase};
use rpo_pref::recipe::Augment;
use rpo_pref::terms::{Network, Rows};
use rpo_pref::{Pair, PairSampler, Recipe, labels};
use rpo_reward::{Lambda, Mean, Score};

/// The inputs of one trajectory's training.
pub struct TrainingSet {
    /// The references, shorter side at the model's size; cropped square when read.
    pub references: Vec<RgbImage>,
    /// The reward encoder's embeddings of the centred references: labels, validation and test read the same squares.
    pub features: RefFeatures,
    /// Latents of the centred references, then, if the recipe flips, of their mirror images.
    pub reference_latents: Posterior,
    /// The image encoder's embeddings of the same pictures, `[B, D]`, where an image adapter is trained.
    pub embeddings: Option<Tensor>,
    /// Whether some reference is not square and the recipe crops at random.
    pub random_crop: bool,
    /// The references' masks where the recipe has them, as [`masks::read`] gives them.
    pub masks: Vec<Mask>,
    /// The references as large as the recipe's augmentation shows them, shorter side; none without.
    pub enlarged: Vec<RgbImage>,
    /// Latents of the negatives, prompt by prompt.
    pub negative_latents: Option<Posterior>,
    /// The negatives themselves.
    pub negatives: Vec<RgbImage>,
    /// Negatives per prompt.
    pub per_prompt: usize,
    /// c of every reference, its caption or the recipe's `instance_prompt`; with the augmentation then all of them after each of its
    /// [`PREFIXES`].
    pub c: Prompted,
    /// c of every reference without the token, where the recipe compares with the base's outputs.
    pub c_plain: Option<Prompted>,
    /// c_mod of every training prompt.
    pub c_mod: Prompted,
    /// For prior preservation, the recipe's `class_prompt`, then the captions of given pictures of the class.
    pub class: Prompted,
    /// Latents of pictures of the class, where the recipe preserves the prior: given ones, or the base model's.
    pub class_latents: Option<Posterior>,
    /// The row in [`Self::class`] of each of them.
    pub class_texts: Vec<u32>,
    /// Rewards of both sides of a pair; `None` where the recipe has no preference loss.
    pub preference: Option<Preference>,
}

impl TrainingSet {
    /// Writes references and a few negatives into a trajectory's folder, for the report.
    ///
    /// # Errors
    /// I/O errors, by path.
    pub fn save_pictures(&self, folder: &Folder) -> Result<()> {
        for (i, reference) in self.references.iter().enumerate() {
            let path = folder.0.join(format!("references/{i:02}.png"));
            files::write_png(&path, reference)?;
        }
        let first_of_each = self.negatives.iter().step_by(self.per_prompt.max(1));
        for (i, negative) in first_of_each.enumerate() {
            let path = folder.0.join(format!("negatives/{i:02}.png"));
            files::write_png(&path, negative)?;
        }
        Ok(())
    }
}

/// Rewards of references and negatives, from which labels come.
pub struct Preference {
    /// All possible pairs, by reference.
    pairs: PairSampler,
    /// `[prompt][reference]`
    reference: Vec<Vec<f64>>,
    /// `[prompt][picture]`
    negative: Vec<Vec<f64>>,
}

impl Preference {
    /// A uniformly drawn pair of this reference. All references have the same number of pairs.
    pub fn draw(&self, reference: usize, rng: &mut impl RngCore) -> Pair {
        let count = self.pairs.count();
        let of_reference = count / self.reference[0].len();
        self.pairs
            .pair(reference * of_reference + random::below(rng, of_reference))
    }

    /// P(the pair's reference is preferred to its negative), Eq. 6.
    pub fn probability(&self, pair: Pair, recipe: &Recipe) -> f64 {
        let references = self.reference.first().map_or(1, Vec::len);
        let judged = recipe.label_reward.compared(pair, references);
        let r_ref = self.reference[judged.prompt][judged.reference];
        let r_gen = self.negative[judged.prompt][judged.picture];
        labels::probability(r_ref, r_gen, recipe.tau)
    }
}

/// Draws the negatives (or reads them from the cache) and computes latents, text states and probabilities.
///
/// # Errors
/// Sampling, scoring and I/O errors.
pub fn prepare(
    setup: &Setup,
    drawer: &Drawer,
    base: &Drawn,
    cell: &Cell,
    progress: &mut Progress,
) -> Result<TrainingSet> {
    progress.timed(Phase::Negatives, |progress| {
        let (recipe, subject) = (&setup.arm(cell).recipe, &setup.subjects[cell.subject]);
        let (token, class) = (subject.token.as_str(), subject.class.as_str());
        let per_prompt = setup.each(cell, Purpose::Negatives);
        let c_mod = setup.prompts(cell, Purpose::Negatives);
        let requests = |purpose| -> Vec<Request> {
            let shots = setup.shots(cell, purpose, 0).into_iter();
            shots.map(Request::from).collect()
        };
        let of_class = requests(Purpose::Class);
        let requests = requests(Purpose::Negatives);
        let note = format!("{} negatives of {class}", requests.len());
        let negatives = draw_some(drawer, base, &requests, progress, &note)?;

        let note = format!("{} class pictures of {class}", of_class.len());
        let drawn = draw_some(drawer, base, &of_class, progress, &note)?;
        let (class_pictures, captions): (Vec<_>, Vec<_>) =
            match class_squares::squares(setup, cell)? {
                Some(given) => given.into_iter().unzip(),
                None => drawn.into_iter().map(|picture| (picture, None)).unzip(),
            };
        let (class_prompts, class_texts) = class_texts(recipe.class_prompt.of(class), captions);

        let references: Vec<RgbImage> = subject
            .references
            .iter()
            .map(|r| shorter_side(&r.picture, setup.size))
            .collect();
        let cells = setup.size as usize / setup.pipeline.vae_config.factor();
        let enlarged = match recipe.augment {
            Augment::None => Vec::new(),
            Augment::CustomDiffusion => (subject.references.iter())
                .map(|r| shorter_side(&r.picture, augment::largest(setup.size)))
                .collect(),
        };
        let squares = setup.squares(subject);
        let features = setup.rewarder.references(&squares)?;
        let instance = recipe.instance_prompt.of(&format!("{token} {class}"));
        let c: Vec<String> = subject
            .references
            .iter()
            .map(|r| r.caption.clone().unwrap_or_else(|| instance.clone()))
            .collect();
        let c = with_prefixes(recipe, c);
        let encode = |pictures: &[RgbImage]| -> Result<Option<Posterior>> {
            if pictures.is_empty() {
                return Ok(None);
            }
            Ok(Some(setup.pipeline.encode_pictures(pictures)?))
        };
        let texts = |prompts: Vec<String>| {
            Prompted::encode(setup.pipeline.texts(), prompts, setup.size as usize)
        };
        let preference = if per_prompt > 0 {
            let reward_text = setup.reward_texts(cell, Purpose::Negatives);
            Some(preference(
                setup,
                recipe,
                &features,
                &squares,
                &negatives,
                &reward_text,
            )?)
        } else {
            None
        };
        let mut trained_on = squares;
        if recipe.flip {
            let mirrored: Vec<RgbImage> = trained_on.iter().map(flip_horizontal).collect();
            trained_on.extend(mirrored);
        }
        let images = setup.arm(cell).image_adapter.as_ref();
        let image_encoder = images.and(setup.image_encoder.as_deref());
        let set = TrainingSet {
            embeddings: image_encoder::embeddings(image_encoder, setup.place(), &trained_on)?,
            reference_latents: encode(&trained_on)?.context("a subject without references")?,
            references,
            features,
            random_crop: masks::crops_at_random(recipe, subject, setup.size),
            masks: masks::read(recipe, subject, setup.size, cells)?,
            enlarged,
            negative_latents: encode(&negatives)?,
            negatives,
            per_prompt,
            c_plain: plain_texts(recipe, &c, token).map(texts).transpose()?,
            c: texts(c)?,
            c_mod: texts(c_mod)?,
            class: texts(class_prompts)?,
            class_latents: encode(&class_pictures)?,
            class_texts,
            preference,
        };
        // Training reads only the latents and text states above: VAE and text encoders are released.
        setup.pipeline.release();
        Ok(set)
    })
}

/// The prompt of pictures without a caption, then those with one, each once; and the place among them of every picture's.
fn class_texts(prompt: String, captions: Vec<Option<String>>) -> (Vec<String>, Vec<u32>) {
    let mut prompts = vec![prompt];
    let mut place = |caption: Option<String>| {
        let caption = caption.unwrap_or_else(|| prompts[0].clone());
        let known = prompts.iter().position(|known| *known == caption);
        let place = known.unwrap_or(prompts.len());
        if place == prompts.len() {
            prompts.push(caption);
        }
        place as u32
    };
    let places = captions.into_iter().map(&mut place).collect();
    (prompts, places)
}

/// The prompts, then with the augmentation all of them after each of its prefixes.
fn with_prefixes(recipe: &Recipe, c: Vec<String>) -> Vec<String> {
    let prefixes: &[&str] = match recipe.augment {
        Augment::None => &[],
        Augment::CustomDiffusion => &PREFIXES,
    };
    let prefixed = prefixes.iter().flat_map(|prefix| {
        let after = move |c: &String| format!("{prefix}{c}");
        c.iter().map(after)
    });
    c.iter().cloned().chain(prefixed).collect()
}

/// The references' prompts without the token, if a term reads them.
fn plain_texts(recipe: &Recipe, c: &[String], token: &str) -> Option<Vec<String>> {
    let objective = recipe.objective();
    let reads = |network| objective.rows(network).contains(&Rows::Plain);
    let plain = |c: &String| without_token(c, token);
    (reads(Network::Trained) || reads(Network::Frozen)).then(|| c.iter().map(plain).collect())
}

fn draw_some(
    drawer: &Drawer,
    base: &Drawn,
    requests: &[Request],
    progress: &mut Progress,
    note: &str,
) -> Result<Vec<RgbImage>> {
    if requests.is_empty() {
        return Ok(Vec::new());
    }
    drawer.draw(base, requests, progress, note)
}

/// Rewards of every reference and every negative under each training prompt.
fn preference(
    setup: &Setup,
    recipe: &Recipe,
    features: &RefFeatures,
    references: &[RgbImage],
    negatives: &[RgbImage],
    prompts: &[String],
) -> Result<Preference> {
    let rewarder = &setup.rewarder;
    // The paper's labels are λ-harmonic rewards (Eq. 5 and 6).
    let lambda = Lambda::try_new(recipe.lambda_train)?;
    let rewards = |pictures: &[RgbImage], prompt: &String| -> Result<Vec<f64>> {
        let scores = rewarder.score(features, pictures, &vec![prompt.clone(); pictures.len()])?;
        Ok(scores
            .into_iter()
            .map(|s: Score| Mean::Harmonic.reward(s, lambda))
            .collect())
    };
    let per_prompt = recipe.negatives_per_prompt;
    let reference = prompts
        .iter()
        .map(|p| rewards(references, p))
        .collect::<Result<_>>()?;
    let negative = prompts
        .iter()
        .zip(negatives.chunks(per_prompt))
        .map(|(p, pictures)| rewards(pictures, p))
        .collect::<Result<_>>()?;
    let pairs = PairSampler::new(recipe.pairs, references.len(), prompts.len(), per_prompt)?;
    Ok(Preference {
        pairs,
        reference,
        negative,
    })
}

/// A picture with its shorter side at `size`.
fn shorter_side(picture: &RgbImage, size: u32) -> RgbImage {
    let (width, height) = picture::shorter_at(picture.width(), picture.height(), size);
    picture::resize(picture, width, height)
}
