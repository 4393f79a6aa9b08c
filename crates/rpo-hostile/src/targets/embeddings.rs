//! Embeddings of textual inversion, as this program, diffusers, kohya and A1111 write them.

use super::made::{finite, named, tensors};
use crate::case::Case;
use crate::target::{Target, ensure_fault};
use anyhow::Result;
use rpo_diffusion::textual_inversion;
use rpo_nn::weights::Precision;

const NAME: &str = "my-dog.safetensors";

fn seeds() -> Result<Vec<Case>> {
    let files = [
        tensors(&[("[v]", &[1, 8])], Precision::F32),
        tensors(&[("<dog>", &[8])], Precision::F16),
        tensors(&[("<dog>", &[2, 8]), ("<cat>", &[1, 8])], Precision::F32),
        tensors(&[("clip_l", &[2, 8]), ("clip_g", &[2, 12])], Precision::F32),
        tensors(&[("emb_params", &[3, 8])], Precision::F32),
    ];
    Ok(named(NAME, files.into_iter().collect::<Result<Vec<_>>>()?))
}

pub(super) const FILE: Target = Target::new(
    "embedding",
    "an embedding of textual inversion; its words can be written and read again",
    seeds,
    |folder| {
        let words = textual_inversion::read(&folder.join(NAME))?;
        ensure_fault(!words.is_empty(), || "a file without words".into())?;
        for word in &words {
            for rows in &word.rows {
                let [n, width] = *rows.dims() else {
                    return ensure_fault(false, || format!("vectors {:?}", rows.dims()));
                };
                ensure_fault(finite(rows)? && n > 0 && width > 0, || {
                    format!("{n} vectors of {width}, or not finite")
                })?;
            }
            // A word without a name, or of three encoders, is not written: no fault.
            let Ok(bytes) = textual_inversion::to_bytes(word) else {
                continue;
            };
            let again = folder.join("again.safetensors");
            std::fs::write(&again, bytes)?;
            let read = textual_inversion::read(&again)
                .map_err(|e| crate::wrong(format!("what was written cannot be read: {e}")))?;
            let same = read.len() == 1
                && read[0].rows.iter().zip(&word.rows).all(|(a, b)| {
                    a.dims() == b.dims() && a.to_vec2::<f32>().ok() == b.to_vec2::<f32>().ok()
                });
            ensure_fault(same, || {
                format!("{:?} is another word when read again", word.token)
            })?;
        }
        Ok(())
    },
);
