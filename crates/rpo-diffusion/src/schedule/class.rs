//! Scheduler classes of diffusers: those that are solvers here, and those whose files say what a solver needs.

use candle_core::{Result, bail};

/// A scheduler class of diffusers that is a solver here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "diffusers' names say it")]
pub enum SchedulerClass {
    DDPMScheduler,
    DDIMScheduler,
    PNDMScheduler,
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
    DPMSolverMultistepScheduler,
}

/// Those, and the two that differ from them only in what they are given at once.
const HERE: [(&str, SchedulerClass); 8] = [
    ("DDPMScheduler", SchedulerClass::DDPMScheduler),
    ("DDPMParallelScheduler", SchedulerClass::DDPMScheduler),
    ("DDIMScheduler", SchedulerClass::DDIMScheduler),
    ("DDIMParallelScheduler", SchedulerClass::DDIMScheduler),
    ("PNDMScheduler", SchedulerClass::PNDMScheduler),
    (
        "EulerDiscreteScheduler",
        SchedulerClass::EulerDiscreteScheduler,
    ),
    (
        "EulerAncestralDiscreteScheduler",
        SchedulerClass::EulerAncestralDiscreteScheduler,
    ),
    (
        "DPMSolverMultistepScheduler",
        SchedulerClass::DPMSolverMultistepScheduler,
    ),
];

/// Other classes whose betas, if the file does not give them, are those that the solvers here take: 0.0001 to 0.02, linear.
/// With the nearest solver.
const SAME_BETAS: [(&str, &str); 7] = [
    ("LMSDiscreteScheduler", "euler"),
    ("DPMSolverSinglestepScheduler", "dpmpp_2m"),
    ("DEISMultistepScheduler", "dpmpp_2m"),
    ("UniPCMultistepScheduler", "dpmpp_2m"),
    ("SASolverScheduler", "dpmpp_2m"),
    ("DDIMInverseScheduler", "ddim"),
    ("DPMSolverMultistepInverseScheduler", "dpmpp_2m"),
];

/// The same of classes with other betas by default.
const OTHER_BETAS: [(&str, &str); 6] = [
    ("HeunDiscreteScheduler", "euler"),
    ("KDPM2DiscreteScheduler", "euler"),
    ("KDPM2AncestralDiscreteScheduler", "euler_ancestral"),
    ("DPMSolverSDEScheduler", "dpmpp_2m"),
    ("LCMScheduler", "ddim"),
    ("TCDScheduler", "ddim"),
];

/// The solver of a class. `None`: its file has the noise schedule, but there is no such solver here. `missing`: a key without
/// which the file does not give the betas.
///
/// # Errors
/// If the class is of another kind of model, or leaves its betas open.
pub(super) fn read(name: &str, missing: Option<&str>) -> Result<Option<SchedulerClass>> {
    if let Some((_, class)) = HERE.iter().find(|(n, _)| *n == name) {
        return Ok(Some(*class));
    }
    if name.contains("Flow") || name.contains("EDM") || name.starts_with("CosineDPM") {
        bail!(
            "models of flow matching and of EDM have another noise schedule and predict something else; only Stable Diffusion 1.x, 2.x and XL are supported"
        )
    }
    match missing {
        Some(key) if !SAME_BETAS.iter().any(|(n, _)| *n == name) => bail!(
            "this class is not one of those here, and without {key} the file does not say its noise schedule\n  hint: write the key into the file"
        ),
        _ => Ok(None),
    }
}

/// Why the solver of a class is not here, and a hint.
pub(crate) fn absent(name: &str) -> String {
    let nearest = SAME_BETAS
        .iter()
        .chain(&OTHER_BETAS)
        .find(|(n, _)| *n == name);
    let distilled = match name {
        "LCMScheduler" | "TCDScheduler" => {
            "; weights that were distilled for this class need it, and cannot be drawn from here"
        }
        _ => "",
    };
    format!(
        "{name} is not one of the solvers here, so that solver \"scheduler\" cannot be it\n  hint: name a solver, which reads the noise schedule and the prediction from the same file: ddpm, ddim, pndm, euler, euler_karras, euler_ancestral, dpmpp_2m or dpmpp_2m_karras; the nearest is {}{distilled}",
        nearest.map_or("ddim", |(_, solver)| solver)
    )
}
