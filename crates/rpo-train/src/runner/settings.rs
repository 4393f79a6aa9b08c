//! What keys of the experiment file are to the crates that compute.

use rpo_diffusion::lora::LoraConfig;
use rpo_experiment::{Adapters, Training};
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

/// The adapters of an arm.
pub fn lora(adapters: &Adapters) -> LoraConfig {
    LoraConfig {
        rank: adapters.rank,
        alpha: adapters.alpha,
        targets: adapters.targets.clone(),
        dropout: adapters.dropout,
    }
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
    fn defaults_are_those_of_the_engine() {
        assert_eq!(Lora::default().targets, LoraConfig::ATTENTION);
        let config = adamw(&Experiment::default().training);
        assert_eq!((config.beta1, config.beta2), (0.9, 0.999));
    }
}
