//! Which pairs of generated pictures are preferences: of one prompt, the winner better in both scores, and by how much of each.

use rpo_reward::Score;
use serde::{Deserialize, Serialize};

/// A window of angles in degrees: `[20, 70]` keeps pairs whose winner gains in both scores and in neither almost alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>")]
pub struct Angle(pub [f64; 2]);

/// A list that is no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} angles where a window has two, [from, to] in degrees")]
pub struct NoWindow(usize);

/// TOML reads the first two numbers of any longer list as an array of two, so it is read as a list.
impl TryFrom<Vec<f64>> for Angle {
    type Error = NoWindow;

    fn try_from(angles: Vec<f64>) -> Result<Self, NoWindow> {
        let n = angles.len();
        angles.try_into().map(Self).map_err(|_| NoWindow(n))
    }
}

impl Default for Angle {
    /// That of a run which the authors named (`a20_70`).
    fn default() -> Self {
        Self([20.0, 70.0])
    }
}

impl Angle {
    /// Whether it is a window within the quadrant in which both scores gain.
    #[must_use]
    pub fn is_valid(self) -> bool {
        let Self([low, high]) = self;
        0.0 <= low && low < high && high <= 90.0
    }

    /// Whether `winner` is better than `loser` in both scores and the angle of the differences (text, image) lies in the window,
    /// its ends included.
    #[must_use]
    pub fn prefers(self, winner: Score, loser: Score) -> bool {
        let (text, image) = (winner.text - loser.text, winner.image - loser.image);
        let Self([low, high]) = self;
        let angle = image.atan2(text).to_degrees();
        text > 0.0 && image > 0.0 && (low..=high).contains(&angle)
    }
}

/// Two generated pictures of one prompt, by their places among all pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Preferred {
    /// Which training prompt.
    pub prompt: usize,
    /// The picture that is preferred.
    pub winner: usize,
    /// The other one.
    pub loser: usize,
}

/// The preferences among pictures that follow each other prompt by prompt, `per_prompt` each, sorted.
#[must_use]
pub fn preferred(scores: &[Score], per_prompt: usize, angle: Angle) -> Vec<Preferred> {
    let mut found = Vec::new();
    for (prompt, of_prompt) in scores.chunks(per_prompt.max(1)).enumerate() {
        let first = prompt * per_prompt.max(1);
        for (i, winner) in of_prompt.iter().enumerate() {
            for (j, loser) in of_prompt.iter().enumerate() {
                if angle.prefers(*winner, *loser) {
                    found.push(Preferred {
                        prompt,
                        winner: first + i,
                        loser: first + j,
                    });
                }
            }
        }
    }
    found
}

/// Number of pairs that there are, kept or not: each is a preference in at most one direction.
#[must_use]
pub fn possible(prompts: usize, per_prompt: usize) -> usize {
    prompts * per_prompt * per_prompt.saturating_sub(1) / 2
}
