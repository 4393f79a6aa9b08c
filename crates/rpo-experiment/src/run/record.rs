//! The record of a trajectory: one line per step and one per validation.
//!
//! It contains no times, so that an interrupted run ends with the same bytes.

use rpo_reward::select::Validation;
use rpo_reward::{Candidate, Score, Variant};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", from = "Line")]
pub enum Record {
    /// A gradient step.
    Step {
        /// Steps taken, from 1.
        step: usize,
        /// The terms of the loss by name, before their weights in the loss: `sim` (Eq. 7, with min-SNR weights where the recipe has
        /// them), `pref` (Eq. 8), `prior`, `preservation`, `consistency`.
        terms: BTreeMap<String, f64>,
        /// The minimised loss.
        loss: f64,
        /// Global gradient norm before clipping.
        grad_norm: f64,
    },
    /// The start of a round of preferences between the trained model's own pictures.
    Round {
        /// Steps taken by the model that drew them.
        step: usize,
        /// Which round, from 1.
        round: usize,
        /// Pairs of pictures of one prompt.
        pairs: usize,
        /// Those that are kept: of 0 the round trains as the steps before the first one.
        kept: usize,
    },
    /// The scores of a checkpoint on the validation prompts.
    Validation {
        /// Which weights.
        #[serde(flatten)]
        candidate: Candidate,
        /// One score per picture, by prompt.
        scores: Vec<Score>,
    },
}

/// A line as this version writes it, or as 0.1.0 did, which had two terms.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Step {
        step: usize,
        #[serde(default)]
        terms: BTreeMap<String, f64>,
        l_sim: Option<f64>,
        l_pref: Option<f64>,
        loss: f64,
        grad_norm: f64,
    },
    Round {
        step: usize,
        round: usize,
        pairs: usize,
        kept: usize,
    },
    Validation {
        step: usize,
        #[serde(default)]
        variant: Variant,
        scores: Vec<Score>,
    },
}

impl From<Line> for Record {
    fn from(line: Line) -> Self {
        match line {
            Line::Step {
                step,
                mut terms,
                l_sim,
                l_pref,
                loss,
                grad_norm,
            } => {
                terms.extend(l_sim.map(|value| ("sim".to_owned(), value)));
                terms.extend(l_pref.map(|value| ("pref".to_owned(), value)));
                Self::Step {
                    step,
                    terms,
                    loss,
                    grad_norm,
                }
            }
            Line::Round {
                step,
                round,
                pairs,
                kept,
            } => Self::Round {
                step,
                round,
                pairs,
                kept,
            },
            Line::Validation {
                step,
                variant,
                scores,
            } => Self::Validation {
                candidate: Candidate { step, variant },
                scores,
            },
        }
    }
}

/// `state/latest.json`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latest {
    /// Steps taken.
    pub step: usize,
    /// Bytes of `metrics.jsonl` that belong to it.
    pub metrics_bytes: u64,
    /// Hash of these bytes; states of earlier versions have none.
    #[serde(default)]
    pub metrics_blake3: Option<String>,
    /// Whether training is finished: every rule has stopped, or the limit is reached.
    pub done: bool,
}

/// The validations among `records`.
pub fn validations(records: &[Record]) -> Vec<Validation> {
    records
        .iter()
        .filter_map(|r| match r {
            Record::Validation { candidate, scores } => Some(Validation {
                candidate: *candidate,
                scores: scores.clone(),
            }),
            Record::Step { .. } | Record::Round { .. } => None,
        })
        .collect()
}

/// Steps that were taken in rounds without a pair.
pub fn steps_without_pairs(records: &[Record]) -> usize {
    let (mut steps, mut empty) = (0, false);
    for record in records {
        match record {
            Record::Round { kept, .. } => empty = *kept == 0,
            Record::Step { .. } => steps += usize::from(empty),
            Record::Validation { .. } => {}
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::{Record, steps_without_pairs};

    #[test]
    fn rounds_are_read_and_those_without_pairs_counted() {
        let step =
            |n| format!(r#"{{"kind":"step","step":{n},"terms":{{}},"loss":1.0,"grad_norm":1.0}}"#);
        let round =
            |n, kept| format!(r#"{{"kind":"round","step":{n},"round":1,"pairs":6,"kept":{kept}}}"#);
        let lines = [
            step(1),
            round(1, 0),
            step(2),
            step(3),
            round(3, 2),
            step(4),
            round(4, 0),
            step(5),
        ];
        let records: Vec<Record> = lines
            .iter()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(steps_without_pairs(&records), 3);
        assert_eq!(serde_json::to_string(&records[1]).unwrap(), lines[1]);
        assert_eq!(steps_without_pairs(&records[..1]), 0);
    }

    #[test]
    fn lines_of_0_1_0_are_read() {
        let old =
            r#"{"kind":"step","step":3,"l_sim":0.5,"l_pref":0.25,"loss":0.75,"grad_norm":2.0}"#;
        let new = r#"{"kind":"step","step":3,"terms":{"pref":0.25,"sim":0.5},"loss":0.75,"grad_norm":2.0}"#;
        let read = |line| serde_json::from_str::<Record>(line).unwrap();
        assert_eq!(read(old), read(new));
        assert_eq!(serde_json::to_string(&read(old)).unwrap(), new);
    }

    #[test]
    fn only_variants_of_the_trained_weights_are_named() {
        for line in [
            r#"{"kind":"validation","step":40,"scores":[{"image":0.5,"text":0.25}]}"#,
            r#"{"kind":"validation","step":40,"variant":"ema","scores":[{"image":0.5,"text":0.25}]}"#,
            r#"{"kind":"validation","step":40,"variant":"scale-0.4","scores":[]}"#,
        ] {
            let record: Record = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&record).unwrap(), line);
        }
        let none = r#"{"kind":"validation","step":40,"variant":"best","scores":[]}"#;
        assert!(serde_json::from_str::<Record>(none).is_err());
    }
}
