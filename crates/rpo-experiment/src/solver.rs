//! The names of solvers.

use serde::{Deserialize, Serialize};

/// How pictures are drawn; docs/schedulers.md says what each reads from the model's scheduler_config.json.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Solver {
    /// The class that `scheduler_config.json` names, with all keys of that file.
    Scheduler,
    /// DDPM's ancestral sampling; meant for many steps.
    Ddpm,
    /// DDIM: first order; with eta > 0 stochastic.
    Ddim,
    /// PNDM: fourth-order linear multistep; one evaluation more than steps; the published sampler of Stable Diffusion 1.
    Pndm,
    /// Euler: first order.
    Euler,
    /// Euler with Karras sigmas.
    EulerKarras,
    /// Euler with fresh noise in every step.
    EulerAncestral,
    /// DPM-Solver++(2M): second order, one network evaluation per step.
    #[serde(rename = "dpmpp_2m")]
    DpmSolverPp2m,
    /// DPM-Solver++(2M) with Karras sigmas.
    #[serde(rename = "dpmpp_2m_karras")]
    DpmSolverPp2mKarras,
}
