//! Marks in a single file that say what its U-Net predicts, and for which noise.

use candle_core::{Result, bail};
use rpo_files::printable::printable_name;
use rpo_nn::weights::Archive;

use super::spelling::bare;
use crate::schedule::PredictionType;

/// Empty tensors by which ComfyUI and A1111 recognise models that predict velocities, and models trained up to zero signal.
pub const V_PRED: &str = "v_pred";
/// See [`V_PRED`].
pub const ZERO_SNR: &str = "ztsnr";

/// Tensors of models whose noise is not that of any `scheduler_config.json`: CosXL, Playground 2.5.
const CONTINUOUS: [&str; 4] = [
    "edm_vpred.sigma_max",
    "edm_vpred.sigma_min",
    "edm_mean",
    "edm_std",
];

/// Keys of metadata with the prediction: of ModelSpec, and of ComfyUI.
const KEYS: [&str; 2] = ["modelspec.prediction_type", "modelspec.predict_key"];

/// What a file says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// What the U-Net predicts, and the mark that says so.
    pub prediction: Option<(PredictionType, String)>,
    /// Whether it was trained with `rescale_betas_zero_snr`; false if nothing says so.
    pub zero_snr: bool,
}

/// The marks of a file.
///
/// # Errors
/// If two marks contradict each other, a value of metadata is not known, or the model needs the continuous noise levels of EDM.
pub fn marks(archive: &Archive) -> Result<Marks> {
    let label = archive.label();
    let mut marks = Marks::default();
    for name in archive.names().chain(archive.buffers()) {
        match bare(name).as_str() {
            V_PRED => note(
                &mut marks,
                PredictionType::VPrediction,
                V_PRED.into(),
                label,
            )?,
            ZERO_SNR => marks.zero_snr = true,
            edm if CONTINUOUS.contains(&edm) => bail!(
                "{label}: tensor {name} marks a model with EDM's continuous noise levels (CosXL, Playground 2.5), which no noise schedule here has\n  hint: use a model with the usual 1000 timesteps"
            ),
            _ => {}
        }
    }
    for key in KEYS {
        let Some(value) = archive.metadata().get(key) else {
            continue;
        };
        let plain = value.trim().to_lowercase().replace(['-', ' '], "_");
        let prediction = match plain.as_str() {
            "v" | "v_prediction" | "v_pred" | "vpred" | "velocity" => PredictionType::VPrediction,
            "epsilon" | "eps" | "epsilon_prediction" | "noise" => PredictionType::Epsilon,
            "sample" | "x0" => PredictionType::Sample,
            "" | "none" | "null" | "unknown" => continue,
            _ => bail!(
                "{label}, metadata {key}: `{}` is not known\n  hint: epsilon, v and sample are; a model with another prediction cannot be used",
                printable_name(value)
            ),
        };
        note(
            &mut marks,
            prediction,
            format!("metadata {key} = {}", printable_name(value)),
            label,
        )?;
    }
    Ok(marks)
}

fn note(marks: &mut Marks, prediction: PredictionType, mark: String, label: &str) -> Result<()> {
    match &marks.prediction {
        Some((before, other)) if *before != prediction => bail!(
            "{label}: {other} and {mark} contradict each other\n  hint: one of them was left by a merge; remove the wrong one"
        ),
        Some(_) => {}
        None => marks.prediction = Some((prediction, mark)),
    }
    Ok(())
}
