//! The fixed splits of subjects: one to tune on, one for results, and the nouns that stay unseen.

use super::subjects::{names, noun_of};

/// The first subjects of a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// `subjects.seed` of an experiment.
    pub seed: u64,
    /// Number of subjects.
    pub subjects: usize,
}

/// Everything is tuned on these.
pub const DEV: Split = Split {
    seed: 1,
    subjects: 12,
};

/// Results are of these, or of the first of them, and nothing is chosen by them.
pub const TEST: Split = Split {
    seed: 2,
    subjects: 96,
};

/// Seed of the order of the unseen nouns.
const UNSEEN_SEED: u64 = 3;

/// Number of unseen nouns.
const UNSEEN: usize = 12;

/// The nouns of which no DEV subject is, and on which nothing is trained that trains over many subjects (the base model, reward and
/// judges know all nouns, without the looks of subjects).
pub fn unseen_nouns() -> Vec<String> {
    let dev = DEV.names();
    let mut nouns = names(UNSEEN_SEED, super::sprites::NOUNS.len() - 1);
    nouns.retain(|noun| !dev.contains(noun));
    nouns.truncate(UNSEEN);
    nouns.sort_unstable();
    nouns
}

impl Split {
    /// The names of its subjects, in order.
    pub fn names(self) -> Vec<String> {
        names(self.seed, self.subjects)
    }

    /// Its subjects of [`unseen_nouns`], whose results are reported apart.
    pub fn unseen(self) -> Vec<String> {
        let unseen = unseen_nouns();
        let is_unseen = |name: &String| {
            noun_of(name).is_some_and(|(noun, _)| unseen.iter().any(|unseen| unseen == noun))
        };
        self.names().into_iter().filter(is_unseen).collect()
    }
}
