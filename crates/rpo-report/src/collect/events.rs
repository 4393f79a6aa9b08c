//! TensorBoard event files: losses and validation alignments of every trajectory.

use super::finished::Finished;
use crate::tensorboard::EventWriter;
use anyhow::Result;
use rpo_experiment::run::{Record, Run};

/// Writes `tensorboard/<trajectory>/` anew from the records.
pub(super) fn write(run: &Run, cells: &[Finished]) -> Result<()> {
    for Finished { cell, tested, .. } in cells {
        let folder = run.path.join("tensorboard").join(&cell.id);
        let mut writer = EventWriter::create(&folder, 0.0)?;
        for record in &tested.records {
            match record {
                Record::Step {
                    step,
                    terms,
                    loss,
                    grad_norm,
                } => {
                    let mut scalars =
                        vec![("loss".into(), *loss), ("grad_norm".into(), *grad_norm)];
                    let terms = terms.iter();
                    scalars.extend(terms.map(|(name, value)| (format!("l_{name}"), *value)));
                    for (name, value) in scalars {
                        writer.scalar(&format!("training/{name}"), *step, value, 0.0)?;
                    }
                }
                Record::Validation { step, scores } => {
                    let n = scores.len() as f64;
                    let image = scores.iter().map(|s| s.image).sum::<f64>() / n;
                    let text = scores.iter().map(|s| s.text).sum::<f64>() / n;
                    writer.scalar("validation/ALIGN-I", *step, image, 0.0)?;
                    writer.scalar("validation/ALIGN-T", *step, text, 0.0)?;
                }
            }
        }
        writer.flush()?;
    }
    Ok(())
}
