//! Converts keys of the experiment file to types of the crates that compute.

use rpo_diffusion::SamplerConfig;
use rpo_diffusion::lora::{LoraConfig, LoraInit};
use rpo_experiment::{Adapters, Sampler, TextEncoder, Training};
use rpo_nn::optim::AdamWConfig;

/// The solver of this name.
pub fn solver(solver: rpo_experiment::Solver) -> rpo_diffusion::Solver {
    use rpo_diffusion::Solver as To;
    use rpo_experiment::Solver as From;
    match solver {
        From::Scheduler => To::Scheduler,
        From::Ddpm => To::Ddpm,
        From::Ddim => To::Ddim,
        From::Pndm => To::Pndm,
        From::Euler => To::Euler,
        From::EulerKarras => To::EulerKarras,
        From::EulerAncestral => To::EulerAncestral,
        From::DpmSolverPp2m => To::DpmSolverPp2m,
        From::DpmSolverPp2mKarras => To::DpmSolverPp2mKarras,
    }
}

/// How pictures are drawn.
pub fn sampler(sampler: &Sampler) -> SamplerConfig {
    SamplerConfig {
        solver: solver(sampler.solver),
        eta: sampler.eta,
        steps: sampler.steps,
        guidance: sampler.guidance,
        guidance_interval: sampler.guidance_interval,
        batch: sampler.batch,
    }
}

/// The adapters of an arm.
pub fn lora(adapters: &Adapters) -> LoraConfig {
    LoraConfig {
        rank: adapters.rank,
        alpha: adapters.alpha,
        targets: adapters.targets.clone(),
        dropout: adapters.dropout,
        init: match adapters.init {
            rpo_experiment::LoraInit::KaimingUniform => LoraInit::KaimingUniform,
            rpo_experiment::LoraInit::Gaussian => LoraInit::Gaussian,
        },
    }
}

/// The adapters of an arm on its text encoders.
pub fn text_lora(keys: &TextEncoder) -> LoraConfig {
    lora(&Adapters {
        rank: keys.rank,
        alpha: keys.alpha.unwrap_or(keys.rank as f64),
        targets: keys.targets.clone(),
        dropout: 0.0,
        init: keys.init,
    })
}

/// The optimiser of an arm.
pub fn adamw(training: &Training) -> AdamWConfig {
    AdamWConfig {
        lr: training.learning_rate,
        beta1: training.beta1,
        beta2: training.beta2,
        eps: training.eps,
        weight_decay: training.weight_decay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpo_experiment::{Experiment, Lora};

    #[test]
    fn solvers_have_one_name() {
        let named = |name: &str| -> (rpo_experiment::Solver, rpo_diffusion::Solver) {
            let name = serde_json::Value::from(name);
            let of_file = serde_json::from_value(name.clone()).unwrap();
            (of_file, serde_json::from_value(name).unwrap())
        };
        for name in [
            "scheduler",
            "ddpm",
            "ddim",
            "pndm",
            "euler",
            "euler_karras",
            "euler_ancestral",
            "dpmpp_2m",
            "dpmpp_2m_karras",
        ] {
            let (of_file, ours) = named(name);
            assert_eq!(solver(of_file), ours, "{name}");
        }
    }

    #[test]
    fn guided_evaluations_are_counted_as_they_are_drawn() {
        let mut file = Experiment::default().sampler;
        for interval in [None, Some([0.0, 1.0]), Some([0.2, 0.6]), Some([0.0, 0.35])] {
            for guidance in [1.0, 3.0] {
                (file.guidance_interval, file.guidance) = (interval, guidance);
                for (n, reward) in [1, 7, 10, 51].map(|n| [(n, false), (n, true)]).concat() {
                    let (counted, drawn) =
                        (file.passes(n, reward), sampler(&file).passes(n, reward));
                    assert_eq!(counted, drawn, "{interval:?} {n} {reward}");
                }
            }
        }
    }

    #[test]
    fn defaults_are_those_of_the_engine() {
        assert_eq!(Lora::default().targets, LoraConfig::ATTENTION);
        let config = adamw(&Experiment::default().training);
        assert_eq!((config.beta1, config.beta2), (0.9, 0.999));
    }
}
