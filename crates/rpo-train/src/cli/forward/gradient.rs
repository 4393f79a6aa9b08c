//! The losses and all gradients of one RPO step from given latents, noise, timesteps, labels and texts.

use super::args::{ForwardArgs, preset};
use super::diffusion::{part_folder, pixels};
use super::inputs::Inputs;
use super::results::Results;
use crate::runner::objective::{Batch, Noised, Objective};
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use rpo_diffusion::{NoiseSchedule, UNet2DConditionModel, UNetConfig, load_unet};
use rpo_encoders::folder;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_nn::optim;
use rpo_pref::Recipe;
use rpo_pref::recipe::ReferencePrompt;
use rpo_pref::terms::{self, Network, Rows};

/// `loss`, `l_sim`, `l_pref`, `ell`, and `grad.<name>` of every parameter in PyTorch's layout.
pub(super) fn run(args: &ForwardArgs, inputs: &Inputs) -> Result<Results> {
    let name = args
        .recipe
        .as_deref()
        .or(args.grad.as_deref())
        .unwrap_or("official");
    let mut recipe = preset(name)?.recipe();
    if let Some(beta) = args.beta {
        recipe.beta = beta;
        recipe.check().or_bad_input("--beta")?;
    }
    let schedule = args.model.join("scheduler/scheduler_config.json");
    if !schedule.is_file() {
        return Err(BadInput::new(format!(
            "--grad: {} is missing\n  hint: give the folder of the whole pipeline; its schedule makes x_t",
            schedule.display()
        )));
    }
    let schedule = NoiseSchedule::load(&schedule).or_bad_input("--model")?;
    let dir = part_folder(&args.model, "unet");
    let config = UNetConfig::load(&dir.join("config.json")).or_bad_input("--model")?;
    let params = folder::open_params(&dir, true).or_bad_input("--model")?;
    let theta = UNet2DConditionModel::new(&config, &params.root()).or_bad_input("--model")?;
    let base = match &args.base {
        Some(base) => {
            let (config, params) =
                load_unet(&part_folder(base, "unet"), None).or_bad_input("--base")?;
            UNet2DConditionModel::new(&config, &params.root())?
        }
        // The same storage, without a graph.
        None => UNet2DConditionModel::new(&config, &params.detached().root())?,
    };
    let terms = recipe.objective();
    if terms.reads_cosines() {
        return Err(BadInput::new(
            "--grad: its contrastive loss needs an image adapter, which is no part of a forward\n  hint: lora_dreambooth has the same L_sim",
        ));
    }
    let objective = Objective {
        terms: &terms,
        norm: recipe.norm,
        theta: &theta,
        reading: None,
        images: None,
        base: &base,
        recompute: args.recompute,
    };
    let (losses, mut grads) = objective.gradients(&batch(inputs, &schedule, &terms)?, 1)?;
    let vars = params.vars();
    optim::check_gradients(&vars, &grads)?;
    let scalar = |x: f64| Tensor::new(x as f32, &Device::Cpu);
    let term = |name: &str| scalar(losses.terms.get(name).copied().unwrap_or(0.0));
    let ell = losses.errors.iter().flat_map(|e| e.ell(reference(&recipe)));
    let ell: Vec<f32> = ell.map(|l| l as f32).collect();
    let mut results = Results::from([
        ("loss".into(), scalar(losses.total)?),
        ("l_sim".into(), term("sim")?),
        ("l_pref".into(), term("pref")?),
        ("ell".into(), Tensor::new(ell, &Device::Cpu)?),
    ]);
    for (name, value) in &losses.terms {
        results.insert(format!("l_{name}"), scalar(*value)?);
    }
    for (name, var) in vars {
        let grad = grads
            .remove(&var)
            .with_context(|| format!("{name} has no gradient"))?;
        let stored = if grad.rank() == 4 {
            grad.permute((3, 2, 0, 1))?.contiguous()?
        } else {
            grad
        };
        results.insert(format!("grad.{name}"), stored);
    }
    Ok(results)
}

/// The rows that hold the references of the recipe's pairs.
fn reference(recipe: &Recipe) -> Rows {
    match recipe.reference_prompt {
        ReferencePrompt::C => Rows::Reference,
        ReferencePrompt::CMod => Rows::ReferenceMod,
    }
}

/// The batch that the file describes, for the recipe's passes.
fn batch(inputs: &Inputs, schedule: &NoiseSchedule, terms: &terms::Objective) -> Result<Batch> {
    let rows = |side: &str, text: &str| -> Result<Noised> {
        let latents = inputs.nhwc(&format!("latents_{side}"))?;
        let noise = inputs.nhwc(&format!("noise_{side}"))?;
        let t = inputs.whole_numbers(&format!("timesteps_{side}"))?;
        let text = inputs.conditioning(&format!("_{text}"), pixels(&latents)?)?;
        Noised::new(schedule, &latents, &noise, &t, text)
            .or_bad_input(format!("--inputs, `*_{side}`"))
    };
    let mut batch = Batch::default();
    let trained = terms.rows(Network::Trained);
    for wanted in trained.union(&terms.rows(Network::Frozen)).copied() {
        let (side, text) = match wanted {
            Rows::Reference => ("ref", "ref"),
            // Under c_mod, the text of the negatives.
            Rows::ReferenceMod => ("ref", "gen"),
            Rows::Generated => ("gen", "gen"),
            Rows::Class => ("class", "class"),
            Rows::Plain => ("ref", "plain"),
            Rows::WithoutImage => ("ref", "ref"),
            Rows::Preferred => ("win", "gen"),
        };
        batch.rows.insert(wanted, rows(side, text)?);
        if wanted == Rows::Generated {
            batch.labels = inputs.numbers("labels")?;
            if batch.labels.iter().any(|y| !(0.0..=1.0).contains(y)) {
                return Err(BadInput::new("--inputs: `labels` must lie in [0, 1]"));
            }
        }
    }
    batch.check().or_bad_input("--inputs")?;
    if batch.rows.contains_key(&Rows::Generated) && batch.labels.is_empty() {
        return Err(BadInput::new("--inputs: `labels` are needed, one a pair"));
    }
    Ok(batch)
}
