//! Estimates the peak memory of a run from configurations alone, and checks that this machine has it.

use anyhow::Result;
use rpo_diffusion::{PIXEL_BATCH, UNetConfig};
use rpo_encoders::clip::ClipTextConfig;
use rpo_experiment::plan::Plan;
use rpo_experiment::{TrainedPart, TrainingArm};
use rpo_files::failure::BadInput;
use rpo_reward::Variant;

/// Number of parameters from which blocks are recomputed by default: below it, activations are small.
pub const RECOMPUTE_FROM: usize = 100_000_000;

/// Estimates below this many bytes are not printed before a run: every machine has them.
pub const WORTH_TELLING: usize = 1_000_000_000;

/// Numbers that the VAE's decoder holds per pixel: two tensors of 256 and two of 128 channels at full size, and the unrolled
/// input of a convolution.
const DECODER_PER_PIXEL: usize = 1100;

/// The program with its threads and the embedded model, and what an allocator holds between uses.
const PROGRAM: usize = 80_000_000;

/// GPU memory of the CUDA context and libraries (0.6 to 1 GB) and of the workspace of convolutions (at most 1 GB), in bytes.
const GPU_LIBRARIES: usize = 2_000_000_000;

/// Sizes of a model, known before its weights are read.
pub struct Sizes<'a> {
    /// The U-Net.
    pub unet: &'a UNetConfig,
    /// Side of the pictures in pixels.
    pub size: usize,
    /// Pixels per latent along one side.
    pub factor: usize,
    /// Parameters of the encoders that stay in memory: reward and judges.
    pub encoders: usize,
    /// Parameters of the encoder that image adapters read, which is released before training; 0 without one.
    pub image_encoder: usize,
    /// Parameters of the text encoders, which are released before sampling and training.
    pub text_encoders: usize,
    /// The text encoders.
    pub texts: Vec<ClipTextConfig>,
    /// Parameters of the VAE.
    pub vae: usize,
}

/// Peak memory of one run, by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Bytes per part in the phase with the peak.
    pub parts: Vec<(&'static str, usize)>,
    /// Which phase that is.
    pub phase: &'static str,
}

impl Estimate {
    /// The sum of the parts.
    pub fn total(&self) -> usize {
        self.parts.iter().map(|(_, bytes)| bytes).sum()
    }

    /// `5.2 GB while training: U-Net 3.4, …`
    pub fn describe(&self) -> String {
        let parts: Vec<String> = self
            .parts
            .iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(name, bytes)| format!("{name} {}", size(*bytes)))
            .collect();
        format!(
            "about {} while {}: {}",
            size(self.total()),
            self.phase,
            parts.join(", ")
        )
    }
}

/// `3.4 GB`, `120 MB`.
pub fn size(bytes: usize) -> String {
    let mega = bytes as f64 / 1e6;
    if mega >= 1000.0 {
        format!("{:.1} GB", mega / 1000.0)
    } else {
        format!("{mega:.0} MB")
    }
}

/// Whether an arm recomputes blocks in the backward pass: as the file says, else if the network is large.
pub fn recomputes(arm: &TrainingArm, parameters: usize) -> bool {
    arm.training
        .recompute
        .unwrap_or(parameters >= RECOMPUTE_FROM)
}

/// Where the networks compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// In f32.
    Host,
    /// On a GPU, with frozen weights and activations of U-Net and VAE of this many bytes per number, encoders in f32.
    Gpu(usize),
}

/// Peak memory of one arm on the device of the U-Net. `trained`: number of trained parameters.
pub fn estimate(
    plan: &Plan,
    arm: &TrainingArm,
    trained: usize,
    sizes: &Sizes,
    memory: Memory,
) -> Estimate {
    const F32: usize = 4;
    let (number, libraries) = match memory {
        Memory::Host => (F32, PROGRAM),
        Memory::Gpu(bytes) => (bytes, GPU_LIBRARIES),
    };
    let parameters = sizes.unet.parameters();
    let side = sizes.size / sizes.factor.max(1);
    let pass = sizes.unet.activations(side, side);
    let passes = [arm.recipe.passes(), arm.recipe.round_passes()].map(|p| p.trainable);
    let rows =
        passes[0].max(passes[1]) * arm.training.batch / arm.training.gradient_accumulation.max(1);
    let of_start = if arm.recipe.rounds > 0 { trained } else { 0 };
    let per_row = if recomputes(arm, parameters) {
        pass.kept + 2 * pass.largest
    } else {
        pass.whole + pass.largest
    };
    // Gradients of a part are added to the sum of the earlier parts.
    let sums = if arm.training.gradient_accumulation > 1 {
        2
    } else {
        1
    };
    // Where a part of them is trained, they stay, and read the texts of every step; where they are trained themselves, on the CPU.
    let reads = arm.parts().iter().any(|part| part.is_of_texts());
    let here = memory == Memory::Host || arm.text_encoder.is_none();
    let held = if reads && here {
        F32 * sizes.text_encoders
    } else {
        0
    };
    let resident = [
        ("program and libraries", libraries),
        ("U-Net", number * parameters),
        ("trained weights", F32 * trained),
        (
            "their casts to bf16",
            if number < F32 {
                number * (trained + of_start)
            } else {
                0
            },
        ),
        ("their copy of a round's start", F32 * of_start),
        ("moments", 2 * F32 * trained),
        (
            "their variants",
            match memory {
                Memory::Host => copies(plan) * F32 * trained,
                Memory::Gpu(_) => 0,
            },
        ),
        ("encoders", F32 * sizes.encoders),
        ("text encoders", held),
    ];
    let phase = |phase, more: &[(&'static str, usize)]| Estimate {
        parts: resident.iter().chain(more).copied().collect(),
        phase,
    };
    let text_rows = if held > 0 { rows } else { 0 };
    let training = phase(
        "training",
        &[
            ("gradients", F32 * trained * sums),
            ("activations", number * rows * per_row),
            (
                "their activations",
                F32 * text_rows * sizes.texts.iter().map(text_row).sum::<usize>(),
            ),
        ],
    );
    let sampler = &plan.experiment.sampler;
    // Reward guidance's third pass is one of its own.
    let at_once = (plan.passes(false).ceil() as usize) * sampler.batch;
    let sampling = phase(
        "sampling",
        &[("activations", number * at_once * (pass.kept + pass.largest))],
    );
    let decoded = PIXEL_BATCH
        .max(sizes.size * sizes.size)
        .min(sampler.batch * sizes.size * sizes.size);
    let decoding = phase(
        "decoding",
        &[
            ("VAE", number * sizes.vae),
            ("its activations", number * decoded * DECODER_PER_PIXEL),
        ],
    );
    let texts = phase(
        "encoding texts",
        &[("text encoders", F32 * sizes.text_encoders - held)],
    );
    let images = arm
        .image_adapter
        .as_ref()
        .map_or(0, |_| sizes.image_encoder);
    let references = phase(
        "reading references",
        &[("image encoder", F32 * images), ("VAE", number * sizes.vae)],
    );
    let all = [training, sampling, decoding, texts, references];
    let fullest = all.iter().max_by_key(|e| e.total());
    fullest.cloned().unwrap_or_else(|| phase("nothing", &[]))
}

/// Copies of the trained weights that candidates need: their start where their change is scaled, their average, and the weights
/// themselves while a variant has their place.
fn copies(plan: &Plan) -> usize {
    let variants = plan.variants();
    let scaled = variants.iter().any(|v| matches!(v, Variant::Scaled(_)));
    let averaged = variants.contains(&Variant::Ema);
    usize::from(scaled) + usize::from(averaged) + usize::from(!variants.is_empty())
}

/// Numbers that a text encoder holds for the backward pass of a text: of each layer the inputs of its norms, projections, attention
/// and activation.
fn text_row(config: &ClipTextConfig) -> usize {
    let layer = 8 * config.hidden_size + 2 * config.intermediate_size;
    config.max_position_embeddings * config.num_hidden_layers * layer
}

/// Refuses a run that cannot fit into `available` bytes.
///
/// # Errors
/// [`BadInput`] with the estimate and what would reduce it.
pub fn check(arm: &TrainingArm, estimate: &Estimate, available: Option<usize>) -> Result<()> {
    let Some(available) = available.filter(|a| *a < estimate.total()) else {
        return Ok(());
    };
    let mut hints = Vec::new();
    if arm.unet_part() == Some(TrainedPart::Unet) {
        hints.push("train adapters: a table [lora] with rank = 16");
    }
    if arm.training.recompute == Some(false) {
        hints.push("training.recompute = true");
    }
    if arm.training.batch > arm.training.gradient_accumulation {
        hints.push("a larger training.gradient_accumulation");
    }
    hints.push("a smaller model.size or sampler.batch");
    hints.push("model.memory_gb = N, if the estimate is wrong");
    Err(BadInput::new(format!(
        "arm {} needs {}, and {} are available\n  hint: {}",
        arm.name,
        estimate.describe(),
        size(available),
        hints.join("; or ")
    )))
}

/// Bytes available on this machine: the file's `model.memory_gb`, else what the system reports; `None` if it reports nothing.
pub fn available(plan: &Plan) -> Option<usize> {
    let asked = plan.experiment.model.memory_gb;
    if asked > 0.0 {
        return Some((asked * 1e9) as usize);
    }
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let free = meminfo(&text)?;
    // A container may have a lower limit than its host.
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit = limit.and_then(|t| t.trim().parse::<usize>().ok());
    Some(limit.map_or(free, |limit| limit.min(free)))
}

/// `MemAvailable` in bytes.
fn meminfo(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kilobytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_available_is_read() {
        let text = "MemTotal:       24000000 kB\nMemFree: 1 kB\nMemAvailable:   23000000 kB\n";
        assert_eq!(meminfo(text), Some(23_000_000 * 1024));
        assert_eq!(meminfo("MemTotal: 3 kB"), None);
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(
            (size(3_440_000_000), size(120_400_000)),
            ("3.4 GB".into(), "120 MB".into())
        );
    }
}
