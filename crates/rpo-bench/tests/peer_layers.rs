//! candle-nn's layers and AdamW beside ours: results, gradients, steps; and which of its operations have no gradient.

mod support;

use candle_core::{D, Device, Result, Tensor, Var};
use candle_nn::{AdamW, Module, Optimizer, ParamsAdamW};
use rpo_bench::peers;
use rpo_diffusion::{Conditioning, UNet2DConditionModel, load_unet};
use rpo_nn::optim::{self, AdamWConfig, check_gradients};
use rpo_nn::{Tape, ops};
use support::{assert_close, relative};

#[test]
fn layers_agree() -> Result<()> {
    for kind in peers::Kind::ALL {
        let [ours, theirs] = peers::pair(kind, false)?;
        let theirs = theirs.in_our_layout(&theirs.forward()?)?;
        // Winograd's transforms round where their sum of products does not.
        let tolerance = if kind == peers::Kind::Conv2d {
            3e-6
        } else {
            1e-6
        };
        assert_close(&format!("{kind:?}"), &ours.forward()?, &theirs, tolerance);
    }
    Ok(())
}

#[test]
fn gradients_agree_where_theirs_has_them() -> Result<()> {
    for kind in peers::Kind::ALL {
        let [ours, theirs] = peers::pair(kind, true)?;
        let (ours_by, theirs_by) = (ours.backward()?, theirs.backward()?);
        let of = |grads: &candle_core::backprop::GradStore, x: &Tensor| {
            grads.get(x).cloned().expect("a gradient")
        };
        let input = theirs.in_our_layout(&of(&theirs_by, &theirs.input))?;
        let what = format!("{kind:?}, input");
        assert_close(&what, &of(&ours_by, &ours.input), &input, 3e-6);
        assert_eq!(ours.vars.len(), theirs.vars.len());
        for ((name, ours), (_, theirs)) in ours.vars.iter().zip(&theirs.vars) {
            let theirs = of(&theirs_by, theirs);
            // Ours keeps [kh, kw, ci, co].
            let theirs = match theirs.rank() {
                4 => theirs.permute((2, 3, 1, 0))?,
                _ => theirs,
            };
            assert_close(
                &format!("{kind:?}, {name}"),
                &of(&ours_by, ours),
                &theirs,
                5e-6,
            );
        }
    }
    Ok(())
}

#[test]
fn adamw_agrees() -> Result<()> {
    let start = peers::normal("weights", &[1000])?;
    let (ours, theirs) = (Var::from_tensor(&start)?, Var::from_tensor(&start)?);
    let config = AdamWConfig::default();
    let mut our_steps = optim::AdamW::new(config, vec![("w".to_owned(), ours.clone())])?;
    let params = ParamsAdamW {
        lr: config.lr,
        beta1: config.beta1,
        beta2: config.beta2,
        eps: config.eps,
        weight_decay: config.weight_decay,
    };
    let mut their_steps = AdamW::new(vec![theirs.clone()], params)?;
    for step in 0..20 {
        let slope = peers::normal(&format!("gradient {step}"), &[1000])?;
        let grads = |var: &Var| (var.as_tensor() * &slope)?.sum_all()?.backward();
        our_steps.step(&grads(&ours)?, 1.0)?;
        their_steps.step(&grads(&theirs)?)?;
    }
    // Small beside the weights, whose rounding is what is seen.
    let moved = |var: &Var| var.as_tensor() - &start;
    assert_close(
        "what 20 steps moved",
        &moved(&ours)?,
        &moved(&theirs)?,
        2e-5,
    );
    Ok(())
}

/// candle-core 0.11 stacks the matrices of a batch into one where the other side is the same for all, without asking whether their
/// rows lie one after the other: those of a transposed batch do not. Their VAE's attention asks for it.
#[test]
fn their_linear_of_a_transposed_batch_is_wrong() -> Result<()> {
    let layer = candle_nn::Linear::new(peers::normal("weight", &[16, 16])?, None);
    let apart = |batch: usize| {
        let x = peers::normal("x", &[batch, 16, 12])?.transpose(1, 2)?;
        relative(&layer.forward(&x)?, &layer.forward(&x.contiguous()?)?)
    };
    assert!(apart(1)? < 1e-6);
    assert!(
        apart(2)? > 0.1,
        "candle multiplies a transposed batch rightly now: decode several pictures at once in `vaes_agree` and in benches/peers.rs"
    );
    Ok(())
}

/// ARCHITECTURE.md: every differentiable operation is an own one, because these two detach silently.
#[test]
fn their_softmax_and_layer_norm_detach() -> Result<()> {
    let x = Var::from_tensor(&peers::normal("x", &[4, 8])?)?;
    let one = Tensor::ones(8, candle_core::DType::F32, &Device::Cpu)?;
    let norm = candle_nn::LayerNorm::new(one.clone(), one.zeros_like()?, 1e-5);
    let weight = peers::normal("slope", &[4, 8])?;
    let has_gradient = |y: Tensor| -> Result<bool> {
        let grads = (y * &weight)?.sum_all()?.backward()?;
        Ok(grads.get(&x).is_some())
    };
    for (what, detached, own) in [
        (
            "softmax_last_dim",
            candle_nn::ops::softmax_last_dim(&x)?,
            candle_nn::ops::softmax(&x, D::Minus1)?,
        ),
        (
            "LayerNorm of a contiguous tensor",
            norm.forward(&x)?,
            ops::layer_norm(&x, &one, &one.zeros_like()?, 1e-5)?,
        ),
    ] {
        assert!(has_gradient(own)?, "{what}: the other way has one");
        assert!(
            !has_gradient(detached)?,
            "candle-nn's {what} has a gradient now: correct ARCHITECTURE.md (walls that were moved), and let the benches of layers train with it"
        );
    }
    Ok(())
}

/// What that does to a whole U-Net: `backward` succeeds and many weights get nothing.
#[test]
fn their_u_net_trains_in_part() -> anyhow::Result<()> {
    let at = tempfile::tempdir()?;
    let dir = at.path().join("unet");
    peers::micro_unet_of_32_groups(&dir)?;
    let x = peers::normal("latents", &[1, 8, 8, 4])?;
    let e = peers::normal("noise", &[1, 8, 8, 4])?;

    let (config, params) = load_unet(&dir, None)?;
    let text = peers::normal("text", &[1, 24, config.cross_attention_dim])?;
    let params = params.deep_copy(true)?;
    let ours = UNet2DConditionModel::new(&config, &params.root())?;
    let tape = Tape::new(false)?;
    let states = Conditioning::from(text.clone());
    let predicted = ours.forward_on(&tape, &x, &[481.0], &states)?;
    let loss = ops::mean_squared_per_sample(&predicted, &e)?.mean_all()?;
    check_gradients(&params.vars(), &tape.backward(&loss)?)?;

    let (theirs, vars) = peers::trainable_unet(&dir)?;
    let predicted = theirs.forward(&peers::channels_first(&x)?, 481.0, &text)?;
    let loss = (predicted - peers::channels_first(&e)?)?
        .sqr()?
        .mean_all()?;
    let grads = loss.backward()?;
    let without = vars.iter().filter(|(_, var)| grads.get(var).is_none());
    let without: Vec<&str> = without.map(|(name, _)| name.as_str()).collect();
    println!(
        "{} of {} tensors without a gradient",
        without.len(),
        vars.len()
    );
    assert!(
        without
            .iter()
            .any(|name| name.ends_with("attn1.to_q.weight")),
        "candle-transformers' U-Net trains its attention now: correct ARCHITECTURE.md (walls that were moved) and compare gradients here"
    );
    Ok(())
}
