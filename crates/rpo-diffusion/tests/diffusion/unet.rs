//! The U-Net against diffusers: outputs, and the gradient of every tensor of one training step.

use std::collections::BTreeMap;

use crate::support::{Golden, assert_close, f64s, micro_unet, on_pool, relative, tiny_unet};
use candle_core::{Result, Tensor, Var};
use rpo_diffusion::custom_diffusion::{self, is_key_or_value};
use rpo_diffusion::{Conditioning, UNet2DConditionModel};
use rpo_nn::weights::Params;
use rpo_nn::{Tape, ops};

fn times(t: &[usize]) -> Vec<f64> {
    t.iter().map(|&t| t as f64).collect()
}

/// PyTorch's layout of a parameter's gradient.
fn torch_layout(grad: &Tensor) -> Result<Tensor> {
    match grad.rank() {
        4 => grad.permute((3, 2, 0, 1))?.contiguous(),
        _ => Ok(grad.clone()),
    }
}

/// Gradients of `mean ||unet(x_t, t, c) - target||²`, in PyTorch's layout, and the loss.
fn gradients(
    unet: &UNet2DConditionModel,
    params: &Params,
    x_t: &Tensor,
    t: &[usize],
    hidden: &Conditioning,
    target: &Tensor,
    tape: Option<Tape>,
) -> Result<(BTreeMap<String, Tensor>, f64)> {
    let output = match &tape {
        None => unet.forward(x_t, &times(t), hidden)?,
        Some(tape) => unet.forward_on(tape, x_t, &times(t), hidden)?,
    };
    let loss = ops::mean_squared_per_sample(&output, target)?.mean_all()?;
    // candle walks the graph recursively.
    let grads = on_pool(|| match tape {
        None => loss.backward(),
        Some(tape) => tape.backward(&loss),
    })?;
    let gradient = |(name, var): (String, Var)| {
        let Some(grad) = grads.get(&var) else {
            candle_core::bail!("{name} has no gradient")
        };
        Ok((name, torch_layout(grad)?))
    };
    let all = params
        .vars()
        .into_iter()
        .map(gradient)
        .collect::<Result<_>>()?;
    Ok((all, f64::from(loss.to_scalar::<f32>()?)))
}

/// diffusers' forward and backward of a tiny random network, in full.
fn tiny(name: &str) -> Result<()> {
    let golden = Golden::load(name)?;
    let (config, params) = tiny_unet(name, &golden, true)?;
    let unet = UNet2DConditionModel::new(&config, &params.root())?;
    assert_eq!(params.unused(), Vec::<String>::new());

    let (x_t, hidden, target) = (
        golden.nhwc("x_t")?,
        golden.conditioning()?,
        golden.nhwc("target")?,
    );
    let t = golden.timesteps("t")?;
    let output = unet.forward(&x_t, &times(&t), &hidden)?;
    assert_close(
        &format!("{name} output"),
        &output,
        &golden.nhwc("out")?,
        1e-5,
    );

    let of = |tape| gradients(&unet, &params, &x_t, &t, &hidden, &target, tape);
    let (grads, loss) = of(Some(Tape::new(false)?))?;
    for (way, tape) in [("recomputed", Some(Tape::new(true)?)), ("by candle", None)] {
        let (others, again) = of(tape)?;
        assert_eq!(loss, again, "{way}");
        for (key, grad) in &grads {
            // The same products and sums; only edges of the graph are summed in another order.
            let figure = relative(&others[key], grad)?;
            assert!(figure <= 1e-5, "{name}: {key} {way}: {figure:e}");
        }
    }
    let expected_loss = golden.f64s("loss")?[0];
    assert!(
        (loss - expected_loss).abs() < 1e-5 * expected_loss,
        "{loss} {expected_loss}"
    );
    let expected = golden.below("grad.");
    assert_eq!(grads.len(), expected.len());
    let (mut off, mut norm, mut worst) = (0., 0., (0., String::new()));
    for (key, grad) in &grads {
        let reference = &expected[key];
        let figure = relative(grad, reference)?;
        assert!(
            figure <= 1e-3,
            "{name}: gradient of {key} is off by {figure:e}"
        );
        if figure > worst.0 {
            worst = (figure, key.clone());
        }
        let square: f64 = f64s(reference)?.iter().map(|x| x * x).sum();
        off += figure * figure * square;
        norm += square;
    }
    let all = (off / norm).sqrt();
    println!(
        "{name} gradients: all {all:.2e}, worst {:.2e} ({})",
        worst.0, worst.1
    );
    assert!(all <= 1e-4, "{name}: all gradients are off by {all:e}");
    Ok(())
}

/// Custom Diffusion's keys and values over frozen others: diffusers' output and gradients, and gradients of nothing else.
fn keys_and_values(name: &str) -> Result<()> {
    let golden = Golden::load(name)?;
    let (config, base) = tiny_unet(name, &golden, false)?;
    let part = base.part(is_key_or_value, base.place())?;
    let unet = UNet2DConditionModel::new(&config, &base.with_part(&part).root())?;
    let (x_t, hidden, target) = (
        golden.nhwc("x_t")?,
        golden.conditioning()?,
        golden.nhwc("target")?,
    );
    let t = golden.timesteps("t")?;
    let expected = golden.below("grad.");
    let own = expected.keys().filter(|name| is_key_or_value(name)).count();
    for recompute in [false, true] {
        let tape = Some(Tape::new(recompute)?);
        let (grads, _) = gradients(&unet, &part, &x_t, &t, &hidden, &target, tape)?;
        assert_eq!(grads.len(), own);
        for (key, grad) in &grads {
            let figure = relative(grad, &expected[key])?;
            assert!(figure <= 1e-4, "{name}: {key}: {figure:e}");
        }
    }
    assert!(base.vars().is_empty());
    let out = |unet: &UNet2DConditionModel| unet.forward(&x_t, &times(&t), &hidden);
    assert_close(name, &out(&unet)?, &golden.nhwc("out")?, 1e-5);

    // What is trained is what predicts, also in networks whose layers keep what they derive from their tensors.
    for (_, var) in part.vars() {
        var.set(&(var.as_tensor() * 1.5)?)?;
    }
    let moved = base.deep_copy(false)?;
    moved.interpolate(&part, 1.0)?;
    let merged = f64s(&out(&UNet2DConditionModel::new(&config, &moved.root())?)?)?;
    assert_eq!(f64s(&out(&unet)?)?, merged);
    let constant = base.with_part(&part).constant();
    let constant = UNet2DConditionModel::new(&config, &constant.root())?;
    assert_eq!(f64s(&out(&constant)?)?, merged);
    let half = base.deep_copy(false)?;
    half.interpolate(&part, 0.5)?;
    let by_hand = base.part(is_key_or_value, base.place())?;
    let at = base.with_part(&by_hand);
    let scaled = UNet2DConditionModel::new(&config, &at.root())?;
    for (_, var) in by_hand.vars() {
        var.set(&(var.as_tensor() * 1.25)?)?;
    }
    let half = UNet2DConditionModel::new(&config, &half.root())?;
    assert_close("half way", &out(&half)?, &out(&scaled)?, 1e-6);
    Ok(())
}

#[test]
fn keys_and_values_alone() -> Result<()> {
    for name in ["tiny_conv", "tiny_linear", "tiny_xl"] {
        keys_and_values(name)?;
    }
    Ok(())
}

#[test]
fn the_file_of_keys_and_values_is_read_back_or_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(custom_diffusion::FILE);
    let (_, base) = tiny_unet("tiny_conv", &Golden::load("tiny_conv")?, false)?;
    let part = || base.part(is_key_or_value, base.place());
    let moved = part()?;
    moved.interpolate(
        &Params::from_tensors(doubled(&moved)?, "doubled", false)?,
        1.0,
    )?;
    std::fs::write(&path, custom_diffusion::to_bytes(&moved)?)?;
    for (scale, factor) in [(1.0, 2.0), (0.5, 1.5), (0.0, 1.0)] {
        let read = part()?;
        custom_diffusion::read(&path, &read, scale)?;
        for ((name, a), (_, b)) in read.tensors_sorted()?.iter().zip(part()?.tensors_sorted()?) {
            assert_close(name, a, &(b * factor)?, 1e-6);
        }
    }
    let (_, other) = tiny_unet("tiny_xl", &Golden::load("tiny_xl")?, false)?;
    let other = other.part(is_key_or_value, other.place())?;
    let refused = |part: &Params| {
        let message = custom_diffusion::read(&path, part, 1.0).unwrap_err();
        message.to_string()
    };
    let message = refused(&other);
    assert!(message.contains("belongs to another model"), "{message}");
    let message = refused(&base.part(|name| name.ends_with("attn2.to_k.weight"), base.place())?);
    assert!(message.contains("not one of"), "{message}");
    Ok(())
}

/// Every tensor times two.
fn doubled(params: &Params) -> Result<Vec<(String, Tensor)>> {
    let tensors = params.tensors_sorted()?.into_iter();
    tensors.map(|(name, t)| Ok((name, (t * 2.0)?))).collect()
}

#[test]
fn tiny_with_convolution_projections() -> Result<()> {
    tiny("tiny_conv")
}

#[test]
fn tiny_with_linear_projections_and_velocity() -> Result<()> {
    tiny("tiny_linear")
}

#[test]
fn tiny_with_two_encoders_states_pooled_text_and_sizes() -> Result<()> {
    tiny("tiny_xl")?;
    let golden = Golden::load("tiny_xl")?;
    let (config, params) = tiny_unet("tiny_xl", &golden, false)?;
    let unet = UNet2DConditionModel::new(&config, &params.root())?;
    let (x, text) = (golden.nhwc("x_t")?, golden.conditioning()?);
    let message = |c: &Conditioning| unet.forward(&x, &[1.], c).unwrap_err().to_string();
    assert!(message(&golden.text("hidden")?).contains("text_embeds and time_ids"));
    let mut narrow = text.clone();
    if let Some(added) = &mut narrow.added {
        added.text_embeds = added.text_embeds.narrow(1, 0, 3)?;
    }
    assert!(message(&narrow).contains("add_embedding takes"));
    if let Some(added) = &mut narrow.added {
        added.text_embeds = added.text_embeds.narrow(0, 0, 2)?;
    }
    assert!(unet.forward(&x, &[1.], &narrow).is_err());
    Ok(())
}

#[test]
fn micro_outputs_at_even_and_odd_sizes() -> Result<()> {
    let golden = Golden::load("micro")?;
    let (config, params) = micro_unet(false)?;
    let unet = UNet2DConditionModel::new(&config, &params.root())?;
    assert_eq!(params.unused(), Vec::<String>::new());
    let hidden = Conditioning::cat(&[&golden.text("cond")?, &golden.text("uncond")?])?;
    for size in ["square", "odd", "odd2"] {
        let x = golden.nhwc(&format!("forward.{size}.x"))?;
        let output = unet.forward(&x, &[1., 500., 999.], &hidden)?;
        let expected = golden.nhwc(&format!("forward.{size}.out"))?;
        assert_close(&format!("micro {size}"), &output, &expected, 1e-5);
    }
    Ok(())
}

/// Bit 63 of splitmix64(4 i + k) as a sign: the script's projections.
fn sign(i: usize, k: u64) -> f64 {
    let mut z = (i as u64 * 4 + k + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    if z >> 63 == 0 { 1. } else { -1. }
}

/// Every gradient of a training step of the micro model, through its norm and four random projections: the mean
/// square of the projections of a difference is an unbiased estimate of its squared norm.
#[test]
fn micro_gradients_of_every_tensor() -> Result<()> {
    let golden = Golden::load("micro")?;
    let (config, params) = micro_unet(true)?;
    let unet = UNet2DConditionModel::new(&config, &params.root())?;
    let cond = golden.text("cond")?;
    let hidden = Conditioning::cat(&[&cond, &cond])?;
    let (x_t, t, noise) = (
        golden.nhwc("train.x_t")?,
        golden.timesteps("train.t")?,
        golden.nhwc("train.noise")?,
    );
    let (grads, loss) = gradients(
        &unet,
        &params,
        &x_t,
        &t,
        &hidden,
        &noise,
        Some(Tape::new(false)?),
    )?;
    let expected_loss = golden.f64s("train.loss")?[0];
    assert!(
        (loss - expected_loss).abs() < 1e-5 * expected_loss,
        "{loss} {expected_loss}"
    );

    let expected = golden.below("train.grad.");
    assert_eq!(grads.len(), expected.len());
    let (mut off, mut total, mut worst) = (0., 0., (0., String::new()));
    for (key, grad) in &grads {
        let reference = f64s(&expected[key])?;
        let grad = f64s(grad)?;
        let norm = grad.iter().map(|x| x * x).sum::<f64>().sqrt();
        assert!(
            (norm - reference[0]).abs() <= 1e-3 * reference[0],
            "{key}: norm {norm} is not {}",
            reference[0]
        );
        let square = (0..4u64)
            .map(|k| {
                let projection: f64 = grad.iter().enumerate().map(|(i, g)| g * sign(i, k)).sum();
                (projection - reference[1 + k as usize]).powi(2)
            })
            .sum::<f64>()
            / 4.;
        let figure = square.sqrt() / reference[0];
        assert!(
            figure <= 1e-3,
            "gradient of {key} is off by about {figure:e}"
        );
        if figure > worst.0 {
            worst = (figure, key.clone());
        }
        off += square;
        total += reference[0] * reference[0];
    }
    let all = (off / total).sqrt();
    println!(
        "micro gradients: all {all:.2e}, worst {:.2e} ({})",
        worst.0, worst.1
    );
    assert!(all <= 1e-4, "all gradients are off by about {all:e}");
    Ok(())
}

#[test]
fn frozen_weights_record_nothing_and_see_every_step() -> Result<()> {
    let golden = Golden::load("tiny_conv")?;
    let (config, params) = tiny_unet("tiny_conv", &golden, true)?;
    let frozen = UNet2DConditionModel::new(&config, &params.detached().root())?;
    let (x, hidden) = (golden.nhwc("x_t")?, golden.text("hidden")?);
    let before = frozen.forward(&x, &[500.], &hidden)?;
    assert!(!before.track_op());
    for (_, var) in params.vars() {
        // In place, as the optimiser does.
        let tensor = var.as_tensor();
        var.set(&(tensor * 1.5)?)?;
    }
    let moved = frozen.forward(&x, &[500.], &hidden)?;
    assert!(relative(&moved, &before)? > 1e-2);
    // One timestep for all, or the same one for each.
    let each = frozen.forward(&x, &[500.; 3], &hidden)?;
    assert_eq!(f64s(&each)?, f64s(&moved)?);
    Ok(())
}

#[test]
fn wrong_inputs_are_errors() -> Result<()> {
    let golden = Golden::load("tiny_conv")?;
    let (config, params) = tiny_unet("tiny_conv", &golden, false)?;
    let unet = UNet2DConditionModel::new(&config, &params.root())?;
    let (x, hidden) = (golden.nhwc("x_t")?, golden.text("hidden")?);
    let message = |r: Result<Tensor>| r.unwrap_err().to_string();
    assert!(message(unet.forward(&x, &[1., 2.], &hidden)).contains("2 timesteps for 3 latents"));
    assert!(
        message(unet.forward(&x, &[1.], &hidden.narrow(0, 2)?)).contains("2 texts for 3 latents")
    );
    let wide = Tensor::cat(&[&x, &x], 3)?;
    assert!(message(unet.forward(&wide, &[1.], &hidden)).contains("must be 4"));
    Ok(())
}
