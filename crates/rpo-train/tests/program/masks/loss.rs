//! The masked loss and its gradient against a slow reference.

use super::common::{apart, number, setup};
use candle_core::{D, Device, Tensor};
use rpo_data::random;
use rpo_diffusion::{Conditioning, UNet2DConditionModel};
use rpo_nn::{Tape, optim};
use rpo_pref::Recipe;
use rpo_pref::recipe::ReferencePrompt;
use rpo_pref::terms::{Network, Rows};
use rpo_train::runner::objective::{Batch, Noised, Objective};

fn tensor(shape: &[usize], purpose: &str) -> Tensor {
    let mut stream = random::stream(5, purpose, &[]);
    let values = random::normal(&mut stream, shape.iter().product());
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// `Σ m e / (C Σ m)` of every row, by candle's operations, one after the other.
fn by_hand(prediction: &Tensor, target: &Tensor, mask: &Tensor) -> candle_core::Result<Tensor> {
    let channels = target.dim(D::Minus1)? as f64;
    let squares = (prediction - target)?.sqr()?.broadcast_mul(mask)?;
    let sums = squares.sum((1, 2, 3))?;
    sums / (mask.sum((1, 2, 3))? * channels)?
}

#[test]
fn the_masked_loss_and_its_gradient_are_those_of_the_formula() {
    rpo_nn::on_pool(|| {
        let setup = setup(&[]);
        let pipeline = &setup.pipeline;
        let base = pipeline.unet(&pipeline.unet_params).unwrap();
        let params = pipeline.trainable_unet().unwrap();
        let theta = pipeline.unet(&params).unwrap();
        for (name, var) in params.vars() {
            if name.starts_with("up_blocks") {
                var.set(&(var.as_tensor() * 1.02).unwrap()).unwrap();
            }
        }
        let times = [30, 400, 700, 950];
        let [x0, e] = ["x0", "e"].map(|name| tensor(&[4, 16, 16, 4], name));
        // A few cells, a box, everything, grey.
        let weight = |row: usize, at: usize| match row {
            0 => f32::from(u8::from(at % 97 == 3)),
            1 => f32::from(u8::from(at % 16 > 4 && at / 16 > 9)),
            2 => 0.5,
            _ => (at % 7) as f32 / 6.0,
        };
        let values: Vec<f32> = (0..4 * 256).map(|i| weight(i / 256, i % 256)).collect();
        let mask = Tensor::from_vec(values, (4, 16, 16, 1), &Device::Cpu).unwrap();
        let texts = |text: &str| pipeline.encode_prompts(&[text; 4], 64).unwrap();
        let (c, c_mod) = (texts("a photo of [v] lion"), texts("a lion in the snow"));
        let plain = Noised::new(&pipeline.schedule, &x0, &e, &times, c.clone()).unwrap();
        let target = e.clone();
        let generated = Noised::new(&pipeline.schedule, &e, &x0, &times, c_mod.clone()).unwrap();
        let masked = plain.clone().masked(&mask).unwrap();
        assert!(masked.under(c_mod.clone().into()).mask().is_none());
        let batch = Batch {
            rows: [
                // From the masked rows: the mask stays behind.
                (Rows::ReferenceMod, masked.under(c_mod.into())),
                (Rows::Reference, masked),
                (Rows::Generated, generated),
            ]
            .into(),
            labels: vec![0.9, 0.2, 0.5, 1.0],
            ..Batch::default()
        };
        let recipe = Recipe {
            reference_prompt: ReferencePrompt::CMod,
            l_sim_weight: 3.0,
            l_pref_weight: 0.0,
            masked: true,
            ..Recipe::ours()
        };
        recipe.check().unwrap();
        let of = |recipe: &Recipe, batch: &Batch, parts: usize| {
            let objective = Objective {
                terms: &recipe.objective(),
                norm: recipe.norm,
                theta: &theta,
                reading: None,
                images: None,
                base: &base,
                recompute: false,
            };
            objective.gradients(batch, parts).unwrap()
        };

        // The slow reference, with a backward pass of its own.
        let slow = |unet: &UNet2DConditionModel, text: &Conditioning| {
            let tape = Tape::new(false).unwrap();
            let times = times.map(|t| t as f64);
            let out = unet
                .forward_on(&tape, plain.noised(), &times, text)
                .unwrap();
            (tape, out)
        };
        let (tape, out) = slow(&theta, &c);
        let errors = by_hand(&out, &target, &mask).unwrap();
        let loss = (errors.mean_all().unwrap() * 3.0).unwrap();
        let slow_grads = tape.backward(&loss).unwrap();
        let (losses, grads) = of(&recipe, &batch, 1);
        let found = losses.errors[0].get(Network::Trained, Rows::Reference);
        for (found, slow) in found.iter().zip(errors.to_vec1::<f32>().unwrap()) {
            assert!(
                (found / f64::from(slow) - 1.0).abs() < 1e-5,
                "{found} {slow}"
            );
        }
        assert!((losses.total / number(&loss) - 1.0).abs() < 1e-5);
        let vars = params.vars();
        let length = optim::global_norm(&grads, &vars).unwrap();
        for (name, var) in &vars {
            let (own, slow) = (grads.get(var).unwrap(), slow_grads.get(var).unwrap());
            let far = apart(own, slow);
            assert!(far < 1e-5 * length, "{name}: {far} of {length}");
        }
        // In parts, the same.
        let in_parts = of(&recipe, &batch, 2).0;
        assert!((in_parts.total / losses.total - 1.0).abs() < 1e-6);

        // With preferences under c_mod: these see whole pictures.
        let both = Recipe {
            l_pref_weight: 1.0,
            ..recipe.clone()
        };
        both.check().unwrap();
        let (losses, _) = of(&both, &batch, 1);
        assert!((losses.terms["sim"] * 3.0 / number(&loss) - 1.0).abs() < 1e-5);
        let whole = Batch {
            rows: [
                (Rows::ReferenceMod, batch.rows[&Rows::ReferenceMod].clone()),
                (Rows::Reference, plain.clone()),
                (Rows::Generated, batch.rows[&Rows::Generated].clone()),
            ]
            .into(),
            labels: batch.labels.clone(),
            ..Batch::default()
        };
        let (unmasked, _) = of(&both, &whole, 1);
        assert_eq!(losses.terms["pref"], unmasked.terms["pref"]);
        assert_ne!(losses.terms["sim"], unmasked.terms["sim"]);
        // A mask of ones, or of any one grey, is none, to the last bit.
        let ones = mask.ones_like().unwrap();
        for grey in [1.0, 0.5] {
            let grey = plain.clone().masked(&(&ones * grey).unwrap()).unwrap();
            let rows = [(Rows::Reference, grey)].into();
            let of_ones = of(
                &recipe,
                &Batch {
                    rows,
                    ..Batch::default()
                },
                1,
            )
            .0;
            assert_eq!(of_ones.terms["sim"], unmasked.terms["sim"]);
        }

        // Along the gradient the loss rises by its length.
        let step = 1e-3 / length;
        let moved = |by: f64| {
            for (_, var) in &vars {
                let grad = grads.get(var).unwrap();
                let there = (var.as_tensor() + (grad * by).unwrap()).unwrap();
                var.set(&there).unwrap();
            }
        };
        moved(step);
        let above = of(&recipe, &batch, 1).0.total;
        moved(-2.0 * step);
        let below = of(&recipe, &batch, 1).0.total;
        let slope = (above - below) / 2e-3;
        assert!((slope / length - 1.0).abs() < 0.01, "{slope} {length}");
    });
}

#[test]
fn a_row_s_mask_has_its_shape_and_is_not_empty() {
    let setup = setup(&[]);
    let text = setup.pipeline.encode_prompts(&["a lion"; 2], 64).unwrap();
    let x = tensor(&[2, 16, 16, 4], "x0");
    let rows = Noised::new(&setup.pipeline.schedule, &x, &x, &[1, 2], text).unwrap();
    let of = |shape: (usize, usize, usize, usize), weight: fn(usize) -> f32| {
        let count = shape.0 * shape.1 * shape.2 * shape.3;
        let values: Vec<f32> = (0..count).map(weight).collect();
        let mask = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        rows.clone()
            .masked(&mask)
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    assert_eq!(of((2, 16, 16, 1), |_| 1.0), Ok(()));
    assert!(of((2, 16, 16, 4), |_| 1.0).is_err());
    assert!(of((1, 16, 16, 1), |_| 1.0).is_err());
    let second = of((2, 16, 16, 1), |i| f32::from(u8::from(i < 256)));
    assert!(second.unwrap_err().contains("row 1 is zero everywhere"));
    for weight in [|_| f32::NAN, |_| -0.5, |_| 2.0] {
        assert!(of((2, 16, 16, 1), weight).is_err());
    }
}
