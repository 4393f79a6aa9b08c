//! A trajectory at any moment of its training.

use super::choice::{Choices, decided};
use super::folder::Folder;
use super::record::{Latest, Record};
use anyhow::Result;
use rpo_reward::select::Rule;

/// What is saved of a trajectory, read while another process may go on with it.
#[derive(Clone, Debug)]
pub struct SoFar {
    /// Steps taken by the saved state.
    pub step: usize,
    /// Whether training is finished: tests may still be missing.
    pub is_trained: bool,
    /// Records of the training up to that state, in order.
    pub records: Vec<Record>,
    /// What the rules have chosen so far.
    pub choices: Choices,
}

impl SoFar {
    /// Reads it; `None` before the first validation is saved.
    ///
    /// # Errors
    /// If a record is damaged, with its file.
    pub fn read(rules: &[Rule], folder: &Folder) -> Result<Option<Self>> {
        let (latest, records) = folder.saved()?;
        let validated = |record: &Record| matches!(record, Record::Validation { .. });
        if !records.iter().any(validated) {
            return Ok(None);
        }
        let Latest { step, done, .. } = latest.unwrap_or_default();
        let choices = decided(rules, folder, &records, done)?;
        Ok(Some(Self {
            step,
            is_trained: done,
            records,
            choices,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpo_reward::select::Rule;
    use rpo_reward::{Lambda, Mean, Score};
    use std::fs;
    use std::io::Write;

    fn score(image: f64) -> Score {
        Score { image, text: 0.5 }
    }

    fn validation(step: usize, image: f64) -> Record {
        let scores = vec![score(image), score(image / 2.0)];
        let candidate = step.into();
        Record::Validation { candidate, scores }
    }

    fn step(step: usize) -> Record {
        Record::Step {
            step,
            terms: [("sim".to_owned(), 0.25)].into(),
            loss: 0.25,
            grad_norm: 1.0,
        }
    }

    fn append_text(folder: &Folder, text: &str) {
        let file = fs::File::options().append(true).open(folder.metrics());
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn what_is_saved_is_read_whatever_is_being_appended() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder(temporary.path().join("arm/owl/seed-0"));
        let rules = [
            Rule::best("half", Mean::Harmonic, Lambda::HALF),
            Rule::last("last"),
        ];
        let read = || SoFar::read(&rules, &folder).unwrap();
        assert!(read().is_none());
        fs::create_dir_all(&folder.0).unwrap();
        folder.append(&[]).unwrap();
        append_text(&folder, "{\"kind\":\"valid");
        assert!(read().is_none());
        folder.cut(0).unwrap();

        folder.append(&[validation(0, 0.5)]).unwrap();
        assert_eq!(read().unwrap().records.len(), 1);
        folder.point_to(0, false).unwrap();
        folder
            .append(&[step(1), step(2), validation(2, 0.8)])
            .unwrap();
        // Appended, the state not saved yet.
        assert_eq!(read().unwrap().step, 0);
        folder.point_to(2, false).unwrap();
        append_text(&folder, "{\"kind\":\"step\",\"ste");
        let now = read().unwrap();
        assert_eq!((now.step, now.is_trained, now.records.len()), (2, false, 4));
        let chosen = now.choices.decisions.iter().map(|d| d.chosen);
        assert_eq!(chosen.collect::<Vec<_>>(), [1, 1]);
        assert!(now.choices.decisions[0].stopped_at.is_none());
        // The whole record is still held to be cut.
        assert!(folder.records().is_err());

        folder.cut(300).unwrap();
        let damaged = SoFar::read(&rules, &folder).unwrap_err();
        assert!(format!("{damaged:#}").contains("300 of"), "{damaged:#}");
    }
}
