//! How a picture was drawn, in its file: as A1111 writes it, which its "PNG Info", ComfyUI and most galleries read, and exactly.

use anyhow::Result;
use image::RgbImage;
use rpo_data::picture::png_with_texts;
use rpo_experiment::{Sampler, Solver};
use serde::Serialize;

/// Everything that a picture's bits depend on, and where it came from.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Parameters<'a> {
    /// What the text encoder read.
    pub(super) prompt: &'a str,
    /// What guidance leads away from.
    pub(super) negative: &'a str,
    /// Seed of the noise.
    pub(super) seed: u64,
    /// Number of the picture among those of its prompt and seed.
    pub(super) picture: usize,
    /// Solver, steps, guidance.
    pub(super) sampler: &'a Sampler,
    /// w_r of reward guidance, if there is some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reward_guidance: Option<f64>,
    /// Title of the solver on the model.
    pub(super) solver: &'a str,
    /// Side in pixels.
    pub(super) size: u32,
    /// The base model.
    pub(super) model: &'a str,
    /// The run's trajectory and its step, or a LoRA file.
    pub(super) checkpoint: &'a str,
    /// Scale of the LoRA; `None` for whole U-Nets.
    pub(super) lora_scale: Option<f64>,
    /// Hash of the U-Net's weights.
    pub(super) weights: &'a str,
    /// Version of the program.
    pub(super) version: &'a str,
}

impl Parameters<'_> {
    /// The picture's file, with the texts `parameters` (A1111) and `rpo` (JSON).
    ///
    /// # Errors
    /// None are expected.
    pub(super) fn png(&self, picture: &RgbImage) -> Result<Vec<u8>> {
        let exact = serde_json::to_string(self)?;
        png_with_texts(picture, &[("parameters", &self.a1111()), ("rpo", &exact)])
    }

    /// The prompt, the negative prompt and `Name: value` pairs. Brackets of the prompt are escaped, since A1111 reads bare ones as
    /// weights; values with commas, colons or line breaks are quoted.
    fn a1111(&self) -> String {
        let (sampler, schedule) = names(self.sampler.solver);
        let side = format!("{0}x{0}", self.size);
        let mut pairs = vec![
            ("Steps", self.sampler.steps.to_string()),
            (
                "Sampler",
                sampler.map_or(self.solver, |name| name).to_owned(),
            ),
        ];
        pairs.extend(schedule.map(|schedule| ("Schedule type", schedule.to_owned())));
        pairs.push(("CFG scale", self.sampler.guidance.to_string()));
        let reward = self.reward_guidance.map(|scale| scale.to_string());
        pairs.extend(reward.map(|scale| ("Reward guidance", scale)));
        pairs.extend([
            ("Seed", self.seed.to_string()),
            ("Size", side),
            ("Model", self.model.to_owned()),
            ("Checkpoint", self.checkpoint.to_owned()),
        ]);
        pairs.extend(
            self.lora_scale
                .map(|scale| ("Lora scale", scale.to_string())),
        );
        pairs.push(("Version", self.version.to_owned()));
        let pairs: Vec<String> = pairs
            .into_iter()
            .map(|(name, value)| format!("{name}: {}", quoted(&value)))
            .collect();
        let negative = match self.negative {
            "" => String::new(),
            text => format!("Negative prompt: {}\n", escaped(text)),
        };
        format!("{}\n{negative}{}", escaped(self.prompt), pairs.join(", "))
    }
}

fn escaped(prompt: &str) -> String {
    let mut text = String::with_capacity(prompt.len());
    for c in prompt.chars() {
        if matches!(c, '(' | ')' | '[' | ']' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

fn quoted(value: &str) -> String {
    match value.contains([',', ':', '\n']) {
        true => serde_json::Value::from(value).to_string(),
        false => value.to_owned(),
    }
}

/// A1111's names of a solver and of its schedule of noise levels.
fn names(solver: Solver) -> (Option<&'static str>, Option<&'static str>) {
    match solver {
        Solver::Scheduler => (None, None),
        Solver::Ddpm => (Some("DDPM"), None),
        Solver::Ddim => (Some("DDIM"), None),
        Solver::Pndm => (Some("PLMS"), None),
        Solver::Euler => (Some("Euler"), None),
        Solver::EulerKarras => (Some("Euler"), Some("Karras")),
        Solver::EulerAncestral => (Some("Euler a"), None),
        Solver::DpmSolverPp2m => (Some("DPM++ 2M"), None),
        Solver::DpmSolverPp2mKarras => (Some("DPM++ 2M"), Some("Karras")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1111_reads_what_is_written() {
        let sampler = Sampler {
            solver: Solver::DpmSolverPp2mKarras,
            steps: 20,
            guidance: 7.5,
            ..Sampler::default()
        };
        let parameters = Parameters {
            prompt: "a [v] dog (red)",
            negative: "blurry",
            seed: 3,
            picture: 1,
            sampler: &sampler,
            reward_guidance: None,
            solver: "DPM-Solver++(2M) Karras",
            size: 512,
            model: "/models/sd15, pruned",
            checkpoint: "ours/dog/seed-0 step 120",
            lora_scale: Some(0.75),
            weights: "0f",
            version: "rpo-train 0.2.0",
        };
        let expected = "a \\[v\\] dog \\(red\\)\nNegative prompt: blurry\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 3, Size: 512x512, Model: \"/models/sd15, pruned\", Checkpoint: ours/dog/seed-0 step 120, Lora scale: 0.75, Version: rpo-train 0.2.0";
        assert_eq!(parameters.a1111(), expected);
        let led = Parameters {
            reward_guidance: Some(3.0),
            ..parameters
        };
        let expected = expected.replace("CFG scale: 7.5", "CFG scale: 7.5, Reward guidance: 3");
        assert_eq!(led.a1111(), expected);
    }
}
