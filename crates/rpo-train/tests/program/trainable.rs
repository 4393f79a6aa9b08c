//! A training method that the program does not have, in this one file: LoRA+ (Hayou et al. 2024), whose B learns faster than
//! its A, with a hook after each step. It is trained, saved, chosen, loaded and tested like the program's own.

use anyhow::Result;
use candle_core::Tensor;
use rpo_data::subject::Subject;
use rpo_diffusion::UNet2DConditionModel;
use rpo_diffusion::lora::{About, Adapters, LoraConfig};
use rpo_experiment::run::{StepResult, choices, chosen_candidates};
use rpo_nn::weights::Params;
use rpo_train::life::Start;
use rpo_train::run_folder::{RunFolder, Where};
use rpo_train::runner::checkpoint;
use rpo_train::runner::setup::Setup;
use rpo_train::runner::trainable::{Base, Shapes, Trainable, Trained, Unit};
use rpo_train::runner::{run_all, run_one};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

const FILE: &str = "adapters.safetensors";
const FACTOR: f64 = 16.0;

/// How often [`Trained::after_step`] was called in this process.
static AFTER: AtomicUsize = AtomicUsize::new(0);

struct LoraPlus {
    config: LoraConfig,
}

impl Trainable for LoraPlus {
    fn folder(&self) -> &'static str {
        "plus"
    }

    fn files(&self, _name: &str) -> Vec<String> {
        vec![FILE.to_owned()]
    }

    fn parameters(&self, model: Shapes) -> Result<usize> {
        Ok(self.config.parameters(model.unet)?)
    }

    fn start(&self, base: Base, _subject: &Subject, unit: Unit) -> Result<Box<dyn Trained>> {
        let adapters = Adapters::new(&base.pipeline.unet_params, &self.config, unit)?;
        Ok(Box::new(Started::new(base, adapters)?))
    }

    fn read(&self, base: Base, place: &Path, _scale: f64) -> Result<Box<dyn Trained>> {
        let mut zeros = |_: &str, n: usize| vec![0.0; n];
        let adapters = Adapters::new(&base.pipeline.unet_params, &self.config, &mut zeros)?;
        let started = Started::new(base, adapters)?;
        started.params().load_values(&place.join(FILE))?;
        Ok(Box::new(started))
    }
}

struct Started {
    adapters: Adapters,
    tensors: Params,
    unet: UNet2DConditionModel,
    base: String,
}

impl Started {
    fn new(base: Base, adapters: Adapters) -> Result<Self> {
        let tensors = base.pipeline.unet_params.with_adapters(&adapters);
        Ok(Self {
            unet: base.pipeline.unet(&tensors)?,
            base: base.weights.to_owned(),
            adapters,
            tensors,
        })
    }
}

impl Trained for Started {
    fn params(&self) -> &Params {
        self.adapters.params()
    }

    fn rate(&self, tensor: &str) -> f64 {
        if tensor.ends_with("lora_B.weight") {
            FACTOR
        } else {
            1.0
        }
    }

    fn learns_by(&self, tensor: &str) -> usize {
        if tensor.ends_with("lora_A.weight") {
            2
        } else {
            1
        }
    }

    fn unet(&self) -> &UNet2DConditionModel {
        &self.unet
    }

    fn frozen(&self, base: Base) -> Result<UNet2DConditionModel> {
        Ok(base.pipeline.unet(&self.tensors.constant())?)
    }

    fn merged(&self, base: Base) -> Result<Params> {
        let params = base.pipeline.unet_params.deep_copy(false)?;
        self.adapters.merge_into(&params, 1.0)?;
        Ok(params)
    }

    fn fingerprint(&self) -> Result<String> {
        let own = rpo_train::files::fingerprint(self.params())?;
        // Pictures of one set of adapters over two bases are not the same.
        Ok(format!("plus {own} over {}", self.base))
    }

    fn after_step(&self) -> Result<()> {
        AFTER.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn save(&self, _base: Base, place: &Path, _about: &About) -> Result<Vec<String>> {
        std::fs::create_dir_all(place)?;
        self.params().save(&place.join(FILE))?;
        Ok(vec![FILE.to_owned()])
    }
}

fn setup(output: &Path, steps: usize) -> Setup {
    let experiments = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    let sets = [
        "subjects.count=1".to_owned(),
        format!("training.steps={steps}"),
        "training.learning_rate=1e-2".to_owned(),
        // So that a trained step is chosen, whatever its reward.
        "rules.last=true".to_owned(),
        format!("output={:?}", output.display().to_string()),
    ];
    let smoke = experiments.join("sizes/smoke.toml");
    let (experiment, layers) =
        rpo_experiment::read(&experiments.join("quickstart.toml"), &[smoke], &sets).unwrap();
    let mut setup = Setup::load(experiment, &layers).unwrap();
    setup.trains = |_| {
        Box::new(LoraPlus {
            config: LoraConfig {
                rank: 2,
                alpha: 2.0,
                targets: vec!["attn2.to_k".into(), "attn2.to_v".into()],
                dropout: 0.0,
                init: Default::default(),
            },
        })
    };
    setup
}

#[test]
fn a_way_to_train_of_ones_own_goes_through_a_whole_run() {
    rpo_nn::on_pool(|| {
        let folder = tempfile::tempdir().unwrap();
        let setup = setup(folder.path(), 4);
        let run = RunFolder::open(&setup, None, Where::Here).unwrap();
        let failed = run_all(&setup, &run.run).unwrap();
        assert!(failed.is_empty(), "{:#}", failed[0].error);
        assert_eq!(AFTER.load(Ordering::Relaxed), 4, "one call a step");

        let cell = &setup.cells[0];
        let of_cell = run.run.trajectory(cell);
        let kept = of_cell.kept("plus");
        assert!(
            !kept.is_empty(),
            "a step was better than the base by some λ"
        );
        for step in &kept {
            let place = of_cell.checkpoint("plus", *step);
            assert!(place.join(FILE).is_file());
            assert!(place.join("blake3.txt").is_file());
        }
        for other in ["unet", "lora"] {
            assert!(!of_cell.0.join(other).exists());
        }
        // The loaded weights are the trained ones, and the exported model predicts the same.
        let arm = &setup.arms[cell.arm];
        let read = checkpoint::load(&setup, arm, &of_cell, 4.into(), 1.0).unwrap();
        let read = read.expect("step 4 is no base");
        let trained = read.params().tensors_sorted().unwrap();
        let moved = |t: &Tensor| {
            t.abs()
                .unwrap()
                .sum_all()
                .unwrap()
                .to_scalar::<f32>()
                .unwrap()
        };
        let b = trained
            .iter()
            .filter(|(name, _)| name.ends_with("lora_B.weight"));
        assert!(b.clone().count() > 0 && b.clone().all(|(_, t)| moved(t) > 0.0));
        let merged = read.merged(setup.base()).unwrap();
        let base = &setup.pipeline.unet_params;
        let changed: BTreeSet<String> = merged
            .tensors_sorted()
            .unwrap()
            .into_iter()
            .zip(base.tensors_sorted().unwrap())
            .filter(|((_, a), (_, b))| moved(&(a - b).unwrap()) > 0.0)
            .map(|((name, _), _)| name)
            .collect();
        let ends = ["attn2.to_k.weight", "attn2.to_v.weight"];
        assert!(
            changed
                .iter()
                .all(|n| ends.iter().any(|end| n.ends_with(end)))
        );
        assert_eq!(2 * changed.len(), trained.len());
        let chosen = chosen_candidates(&choices(&setup.rules, &of_cell).unwrap());
        for step in &chosen {
            assert!(
                StepResult::read(&of_cell, *step).unwrap().is_some(),
                "step {step}"
            );
        }

        // B has moved by 16 times as much: AdamW's first step is the rate times the gradient's sign.
        let mut unit = |_: &str, n: usize| vec![0.75; n];
        let started = setup
            .trainable(arm)
            .start(setup.base(), &setup.subjects[0], &mut unit)
            .unwrap();
        let mut adamw = rpo_nn::optim::AdamW::new(
            rpo_train::runner::settings::adamw(&arm.training),
            started.params().vars(),
        )
        .unwrap();
        adamw.set_rates(|tensor| started.rate(tensor)).unwrap();
        let mut grads = Tensor::zeros((), candle_core::DType::F32, &candle_core::Device::Cpu)
            .unwrap()
            .backward()
            .unwrap();
        let before = started.params().tensors_sorted().unwrap();
        for (_, var) in started.params().vars() {
            grads.insert(&var, var.ones_like().unwrap());
        }
        adamw.step(&grads, 1.0).unwrap();
        let after = started.params().tensors_sorted().unwrap();
        for ((name, before), (_, after)) in before.iter().zip(&after) {
            let first = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0];
            let decayed = first(before)
                * (1.0 - 1e-2 * started.rate(name) * arm.training.weight_decay) as f32;
            let moved = f64::from(decayed - first(after)) / (1e-2 * started.rate(name));
            assert!((moved - 1.0).abs() < 1e-4, "{name}: {moved}");
        }

        // A finished cell returns at once and removes nothing.
        run_one(&setup, &run.run, cell, Start::take(&run.run, cell).unwrap()).unwrap();
        assert_eq!(AFTER.load(Ordering::Relaxed), 4);
        assert_eq!(of_cell.all_kept(), kept);
    });
}
