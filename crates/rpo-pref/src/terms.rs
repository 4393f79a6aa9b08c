//! An objective is a weighted sum of named terms over per-sample errors (Eq. 9: L = L_sim + L_pref).
//!
//! A term declares which rows of which network it reads. The passes of a step, their cost and the records follow from that,
//! so a new loss needs only a new [`Term`] in [`Recipe::objective`](crate::Recipe::objective).

use crate::loss::{self, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

/// Rows of a step's batch: noised latents with a text. In the order in which a pass stacks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rows {
    /// The references under c, their captions.
    Reference,
    /// The same noised references under c_mod, the negatives' prompts.
    ReferenceMod,
    /// The generated pictures, the negatives, under c_mod.
    Generated,
    /// Pictures of the class under the recipe's [`class_prompt`](crate::recipe::ClassPrompt).
    Class,
    /// The same noised references under c without the token. The trained network's target there is the base's prediction.
    Plain,
    /// The same noised references under c alone, where those of [`Rows::Reference`] have what an image adapter adds to it.
    WithoutImage,
    /// Generated pictures that are preferred to those of [`Rows::Generated`], under the same c_mod.
    Preferred,
}

/// Network whose errors are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// θ, with gradients.
    Trained,
    /// The base model, without; in a round, the trained one at the round's start.
    Frozen,
}

/// `||target - prediction||²` of every sample, and the labels y of the pairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Errors {
    errors: BTreeMap<(Network, Rows), Vec<f64>>,
    /// Weights of samples in the mean over their rows; rows without have weight 1.
    weights: BTreeMap<Rows, Vec<f64>>,
    /// y of every pair, in `[0, 1]`.
    pub labels: Vec<f64>,
    /// [`loss::cosine`] of every reference's text and what an image adapter adds to it; none without an adapter.
    pub cosines: Vec<f64>,
}

impl Errors {
    /// No errors yet, for pairs with these labels.
    #[must_use]
    pub fn new(labels: Vec<f64>) -> Self {
        Self {
            labels,
            ..Self::default()
        }
    }

    /// Adds the errors of one network on some rows.
    pub fn insert(&mut self, network: Network, rows: Rows, errors: Vec<f64>) {
        self.errors.insert((network, rows), errors);
    }

    /// Gives the samples of some rows weights in [`Mean`], such as min-SNR's.
    pub fn weigh(&mut self, rows: Rows, weights: Vec<f64>) {
        self.weights.insert(rows, weights);
    }

    /// The errors of one network on some rows; empty if they were not computed.
    #[must_use]
    pub fn get(&self, network: Network, rows: Rows) -> &[f64] {
        self.errors.get(&(network, rows)).map_or(&[], Vec::as_slice)
    }

    /// ℓ of every pair, with its references in `reference`.
    #[must_use]
    pub fn ell(&self, reference: Rows) -> Vec<f64> {
        let of = |network, rows| self.get(network, rows).iter().copied();
        let base = of(Network::Frozen, reference).zip(of(Network::Frozen, Rows::Generated));
        let theta = of(Network::Trained, reference).zip(of(Network::Trained, Rows::Generated));
        base.zip(theta)
            .map(|((base_ref, base_gen), (theta_ref, theta_gen))| {
                loss::ell(base_ref, theta_ref, base_gen, theta_gen)
            })
            .collect()
    }
}

/// One loss.
pub trait Term: Debug + Send + Sync {
    /// Its name in records: `sim`, `pref`, `prior`, `preservation`, `consistency`, `weak_denoising`, `contrastive`.
    fn name(&self) -> &'static str;

    /// The rows that it reads, with their network.
    fn reads(&self) -> Vec<(Network, Rows)>;

    /// Its value, and its derivative in each error of the trained network that it reads.
    fn value(&self, errors: &Errors) -> (f64, BTreeMap<Rows, Vec<f64>>);

    /// Whether it reads [`Errors::cosines`].
    fn reads_cosines(&self) -> bool {
        false
    }

    /// Its derivative in each of [`Errors::cosines`]; none if it does not read them.
    fn cosine_slopes(&self, _errors: &Errors) -> Vec<f64> {
        Vec::new()
    }
}

/// The mean squared error on some rows, weighted where the samples have weights: L_sim on the references, prior preservation on
/// the class.
#[derive(Clone, Copy, Debug)]
pub struct Mean {
    /// Its name.
    pub name: &'static str,
    /// Its rows.
    pub rows: Rows,
}

impl Term for Mean {
    fn name(&self) -> &'static str {
        self.name
    }

    fn reads(&self) -> Vec<(Network, Rows)> {
        vec![(Network::Trained, self.rows)]
    }

    fn value(&self, errors: &Errors) -> (f64, BTreeMap<Rows, Vec<f64>>) {
        let own = errors.get(Network::Trained, self.rows);
        let Value { value, slopes } = match errors.weights.get(&self.rows) {
            Some(weights) => loss::weighted_mean(own, weights),
            None => loss::mean(own),
        };
        (value, BTreeMap::from([(self.rows, slopes)]))
    }
}

/// Output preservation: the mean of `||ε_θ - ε_base||²` on the references under c without the token. Needs no pictures of the class.
#[derive(Clone, Copy, Debug)]
pub struct Preservation;

impl Term for Preservation {
    fn name(&self) -> &'static str {
        "preservation"
    }

    /// The base's prediction is the target.
    fn reads(&self) -> Vec<(Network, Rows)> {
        [Network::Trained, Network::Frozen]
            .map(|network| (network, Rows::Plain))
            .into()
    }

    fn value(&self, errors: &Errors) -> (f64, BTreeMap<Rows, Vec<f64>>) {
        let rows = Rows::Plain;
        let Value { value, slopes } = loss::mean(errors.get(Network::Trained, rows));
        (value, BTreeMap::from([(rows, slopes)]))
    }
}

/// DCO's consistency (Lee et al. 2024): `-log σ(-β (mean e_θ(x_ref, c) - mean e_base(x_ref, c without the token)))`, with the means
/// over the batch before the sigmoid, as in its code.
#[derive(Clone, Copy, Debug)]
pub struct Consistency {
    /// β.
    pub beta: f64,
}

impl Term for Consistency {
    fn name(&self) -> &'static str {
        "consistency"
    }

    fn reads(&self) -> Vec<(Network, Rows)> {
        vec![
            (Network::Trained, Rows::Reference),
            (Network::Frozen, Rows::Plain),
        ]
    }

    fn value(&self, errors: &Errors) -> (f64, BTreeMap<Rows, Vec<f64>>) {
        let trained = errors.get(Network::Trained, Rows::Reference);
        let base = errors.get(Network::Frozen, Rows::Plain);
        let Value { value, slopes } = loss::consistency(trained, base, self.beta);
        (value, BTreeMap::from([(Rows::Reference, slopes)]))
    }
}

/// DisenBooth's contrastive embedding (Chen et al. 2023): the mean over the references of the cosine of their text and what an image
/// adapter adds to it, so that the two hold different things.
#[derive(Clone, Copy, Debug)]
pub struct Contrastive;

impl Term for Contrastive {
    fn name(&self) -> &'static str {
        "contrastive"
    }

    fn reads(&self) -> Vec<(Network, Rows)> {
        Vec::new()
    }

    fn value(&self, errors: &Errors) -> (f64, BTreeMap<Rows, Vec<f64>>) {
        (loss::mean(&errors.cosines).value, BTreeMap::new())
    }

    fn reads_cosines(&self) -> bool {
        true
    }

    fn cosine_slopes(&self, errors: &Errors) -> Vec<f64> {
        loss::mean(&errors.cosines).slopes
    }
}

/// L_pref (Eq. 8).
#[derive(Clone, Copy, Debug)]
pub struct Preference {
    /// The rows of the pairs' references, or of the winners where both are generated.
    pub reference: Rows,
    /// β.
    pub beta: f64,
}

impl Term for Preference {
    fn name(&self) -> &'static str {
        "pref"
    }

    fn reads(&self) -> Vec<(Network, Rows)> {
        let rows = [self.reference, Rows::Generated];
        let of = |network| rows.map(|rows| (network, rows));
        [of(Network::Trained), of(Network::Frozen)].concat()
    }

    fn value(&self, errors: &Errors) -> (f64, BTreeMap<Rows, Vec<f64>>) {
        let ell = errors.ell(self.reference);
        let Value { value, slopes } = loss::l_pref(&ell, &errors.labels, self.beta);
        // ℓ decreases with the error on the reference and increases with that on the generated picture.
        let fall = slopes.iter().map(|slope| -slope).collect();
        let slopes = BTreeMap::from([(self.reference, fall), (Rows::Generated, slopes)]);
        (value, slopes)
    }
}

/// The objective of a step: Σ weight · term.
#[derive(Debug, Default)]
pub struct Objective {
    terms: Vec<(Box<dyn Term>, f64)>,
}

/// The sum of an objective's terms on one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum {
    /// Σ weight · term.
    pub total: f64,
    /// The unweighted terms by name.
    pub terms: BTreeMap<&'static str, f64>,
    /// ∂ total / ∂ error of the trained network, by rows.
    pub slopes: BTreeMap<Rows, Vec<f64>>,
    /// ∂ total / ∂ cosine of every reference; zeros where no term reads them.
    pub cosine_slopes: Vec<f64>,
}

impl Objective {
    /// Adds a term. A term of weight 0 is omitted, so that it costs no pass.
    #[must_use]
    pub fn with(mut self, term: impl Term + 'static, weight: f64) -> Self {
        if weight != 0.0 {
            self.terms.push((Box::new(term), weight));
        }
        self
    }

    /// The rows that a network predicts in a step, in order.
    #[must_use]
    pub fn rows(&self, network: Network) -> BTreeSet<Rows> {
        let all = self.terms.iter().flat_map(|(term, _)| term.reads());
        all.filter(|(of, _)| *of == network)
            .map(|(_, rows)| rows)
            .collect()
    }

    /// Whether a term reads the cosines of text and image.
    #[must_use]
    pub fn reads_cosines(&self) -> bool {
        self.terms.iter().any(|(term, _)| term.reads_cosines())
    }

    /// The names of the terms that read some rows, of whichever network.
    #[must_use]
    pub fn readers(&self, rows: Rows) -> BTreeSet<&'static str> {
        let terms = self.terms.iter().map(|(term, _)| term);
        let reads = terms.filter(|term| term.reads().iter().any(|(_, read)| *read == rows));
        reads.map(|term| term.name()).collect()
    }

    /// The terms and their sum, each multiplied by `share`: 1, or the share of one part of a batch.
    #[must_use]
    pub fn sum(&self, errors: &Errors, share: f64) -> Sum {
        let mut sum = Sum {
            total: 0.0,
            terms: BTreeMap::new(),
            slopes: BTreeMap::new(),
            cosine_slopes: vec![0.0; errors.cosines.len()],
        };
        for (term, weight) in &self.terms {
            let (value, slopes) = term.value(errors);
            let of_cosines = term.cosine_slopes(errors);
            for (into, slope) in sum.cosine_slopes.iter_mut().zip(of_cosines) {
                *into += weight * share * slope;
            }
            sum.total += weight * share * value;
            *sum.terms.entry(term.name()).or_default() += share * value;
            for (rows, slopes) in slopes {
                let into = sum
                    .slopes
                    .entry(rows)
                    .or_insert_with(|| vec![0.0; slopes.len()]);
                for (into, slope) in into.iter_mut().zip(slopes) {
                    *into += weight * share * slope;
                }
            }
        }
        sum
    }
}
