//! Gradients of text encoders through the U-Net against torch 2.15 in f64, with transformers 5.23, diffusers 0.42.1 and peft 0.21.2:
//! a new word's vectors, every tensor of the encoders, every A and B of adapters on them. Folders and values are those of
//! `scripts/golden/text_gradients.py`; those of Custom Diffusion, whose attention detaches the first token, of `custom_diffusion.py`.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Golden, assert_close, f64s, golden_path, on_pool, relative, step_noise};
use candle_core::backprop::GradStore;
use candle_core::{Device, Result, Tensor, Var};
use rpo_diffusion::custom_diffusion::is_key_or_value;
use rpo_diffusion::lora::{Adapters, LoraModule};
use rpo_diffusion::{Pipeline, Texts, UNet2DConditionModel, Word};
use rpo_encoders::clip::ClipTextModel;
use rpo_nn::weights::Archive;
use rpo_nn::{Place, Tape, ops};

const PROMPTS: [&str; 4] = [
    "a <toy> lion in the snow",
    "a red apple",
    "a <toy>",
    "a <toy> lion in the snow",
];
const TIMES: [f64; 4] = [1., 481., 999., 250.];
/// Of the latents, `[B, C, H, W]`.
const SHAPE: [usize; 4] = [4, 4, 8, 6];
/// Side of the pictures, an input of SDXL.
const SIZE: usize = 64;
const ENCODERS: [&str; 2] = ["text_encoder", "text_encoder_2"];
const ALPHA: f64 = 3.0;

/// PyTorch's own f32 is at most 1.4e-6 from its f64 here, this crate 2.5e-6.
const TOLERANCE: f64 = 2e-5;

/// `scale` times `wave()` of the script.
fn wave(shape: &[usize], k: usize, scale: f32) -> Result<Tensor> {
    let values = step_noise(shape.iter().product(), k).into_iter();
    let values: Vec<f32> = values.map(|x| x * scale).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// Latents or target, channels last.
fn image(k: usize) -> Result<Tensor> {
    wave(&SHAPE, k, 1.)?.permute((0, 2, 3, 1))?.contiguous()
}

/// One of the golden folders, and what PyTorch computed for it.
struct Case {
    name: &'static str,
    pipeline: Pipeline,
    unet: UNet2DConditionModel,
    golden: Golden,
    /// The new word's vectors for each encoder.
    rows: Vec<Var>,
}

impl Case {
    fn load(name: &'static str) -> Result<Self> {
        let pipeline = Pipeline::load(&golden_path(&format!("text_gradients/{name}")))?;
        let widths = pipeline
            .texts()
            .configs()
            .into_iter()
            .map(|c| c.hidden_size);
        let rows = widths
            .enumerate()
            .map(|(k, width)| Var::from_tensor(&wave(&[2, width], 2 + k, 0.25)?));
        Ok(Self {
            name,
            rows: rows.collect::<Result<_>>()?,
            golden: Golden::load("text_gradients/gradients")?,
            unet: pipeline.unet(&pipeline.unet_params)?,
            pipeline,
        })
    }

    /// `texts` with the new word.
    fn with_word(&self, texts: &Texts) -> Result<Texts> {
        let rows = self.rows.iter().map(|row| row.as_tensor().clone());
        texts.with_words(&[Word {
            token: "<toy>".to_owned(),
            rows: rows.collect(),
        }])
    }

    /// The vectors by their golden names.
    fn tokens(&self) -> Vec<(String, Var)> {
        let rows = self.rows.iter().zip(ENCODERS);
        rows.map(|(row, encoder)| (format!("token.{encoder}"), row.clone()))
            .collect()
    }

    /// Prediction, loss and the gradients of `trained`, recomputed and not, against the golden ones below `prefix`. Returns the names
    /// of those that have none.
    fn check(
        &self,
        prefix: &str,
        texts: &Texts,
        trained: &[(String, Var)],
    ) -> Result<BTreeSet<String>> {
        let without = self.pass(prefix, texts, trained, false)?;
        assert_eq!(self.pass(prefix, texts, trained, true)?, without);
        Ok(without)
    }

    fn pass(
        &self,
        prefix: &str,
        texts: &Texts,
        trained: &[(String, Var)],
        recompute: bool,
    ) -> Result<BTreeSet<String>> {
        let tape = Tape::new(recompute)?;
        let encode = || texts.encode(&PROMPTS, SIZE);
        let unet = &self.unet;
        let output = unet.forward_under(&tape, &image(0)?, &TIMES, encode)?;
        let what = format!("{prefix}, recompute = {recompute}");
        let expected = self.golden.nhwc(&format!("{prefix}.prediction"))?;
        assert_close(&format!("{what}: prediction"), &output, &expected, 1e-5);
        let loss = ops::mean_squared_per_sample(&output, &image(1)?)?.mean_all()?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        let expected = self.golden.f64s(&format!("{prefix}.loss"))?[0];
        assert!(
            (value / expected - 1.).abs() <= 1e-5,
            "{what}: loss {value}, {expected}"
        );
        self.compare(prefix, &what, &tape.backward(&loss)?, trained)
    }

    fn compare(
        &self,
        prefix: &str,
        what: &str,
        grads: &GradStore,
        trained: &[(String, Var)],
    ) -> Result<BTreeSet<String>> {
        let (mut without, mut worst) = (BTreeSet::new(), (0., String::new()));
        for (name, var) in trained {
            let key = format!("{prefix}.{name}");
            let Some(grad) = grads.get(var) else {
                without.insert(key);
                continue;
            };
            if let Some(layer) = key.strip_suffix("k_proj.bias") {
                // It adds the same to all scores of a token, so that the gradient is 0 but for rounding.
                let beside = self.golden.raw(&format!("{layer}k_proj.weight"))?;
                let share = norm(grad)? / norm(&beside)?;
                assert!(share <= 1e-5, "{what}: {key} is {share:e} of the weight's");
                continue;
            }
            let figure = relative(grad, &self.golden.raw(&key)?)?;
            assert!(figure <= TOLERANCE, "{what}: {key} is off by {figure:e}");
            if figure > worst.0 {
                worst = (figure, key);
            }
        }
        println!("{what}: worst gradient {:.2e} ({})", worst.0, worst.1);
        Ok(without)
    }

    /// The tensors of the encoders that have no gradient in PyTorch.
    fn untrained(&self) -> Result<BTreeSet<String>> {
        let archive = Archive::open(&golden_path("text_gradients/gradients.safetensors"))?;
        let listed = archive.metadata()["untrained"].as_str();
        let listed: Vec<String> = serde_json::from_str(listed).expect("a list of names");
        let own = format!("{}.", self.name);
        let listed = listed.into_iter();
        Ok(listed.filter(|name| name.starts_with(&own)).collect())
    }
}

fn norm(t: &Tensor) -> Result<f64> {
    Ok(f64s(t)?.iter().map(|x| x * x).sum::<f64>().sqrt())
}

/// Textual inversion: the encoders themselves are frozen.
#[test]
fn vectors_of_a_new_word_alone() -> Result<()> {
    on_pool(|| {
        for name in ["sd", "xl"] {
            let case = Case::load(name)?;
            let texts = case.with_word(case.pipeline.texts())?;
            let without = case.check(name, &texts, &case.tokens())?;
            assert_eq!(without, BTreeSet::new());
        }
        Ok(())
    })
}

#[test]
fn every_tensor_of_the_encoders_and_a_new_word() -> Result<()> {
    on_pool(|| {
        for name in ["sd", "xl"] {
            let case = Case::load(name)?;
            let texts = case.pipeline.texts();
            let (mut encoders, mut trained) = (Vec::new(), case.tokens());
            for ((config, frozen), encoder) in texts.open()?.into_iter().zip(ENCODERS) {
                let own = frozen.part(|_| true, &Place::default())?;
                let scope = frozen.with_part(&own).root();
                encoders.push(ClipTextModel::new(&config, &scope, &Place::default())?);
                assert_eq!(own.unused(), Vec::<String>::new());
                assert!(frozen.vars().is_empty());
                let vars = own.vars().into_iter();
                trained.extend(vars.map(|(tensor, var)| (format!("{encoder}.{tensor}"), var)));
            }
            let texts = case.with_word(&texts.with_encoders(&encoders)?)?;
            let without = case.check(name, &texts, &trained)?;
            assert_eq!(without, case.untrained()?);

            // SDXL reads the input of the last layer, and of its first encoder nothing else.
            let behind = |key: &String| {
                let name = key.strip_prefix("xl.text_encoder.").unwrap_or_default();
                name.starts_with("encoder.layers.2.") || name.starts_with("final_layer_norm.")
            };
            let names = trained.iter().map(|(tensor, _)| format!("{name}.{tensor}"));
            let names: BTreeSet<String> = names.collect();
            let expected: BTreeSet<String> = names.iter().filter(|k| behind(k)).cloned().collect();
            assert_eq!(without, expected);
            assert_eq!(without.len(), if name == "xl" { 18 } else { 0 });
            // PyTorch has no tensor that was not compared.
            for encoder in ["token"].iter().chain(&ENCODERS) {
                let below = format!("{name}.{encoder}.");
                for tensor in case.golden.below(&below).keys() {
                    assert!(names.contains(&format!("{below}{tensor}")), "{tensor}");
                }
            }
        }
        Ok(())
    })
}

/// Custom Diffusion: keys and values of the text and a new word, of which those of the first token are detached.
#[test]
fn keys_and_values_whose_first_token_is_detached() -> Result<()> {
    on_pool(|| {
        for name in ["sd", "xl"] {
            let mut case = Case::load(name)?;
            case.golden = Golden::load("custom_diffusion")?;
            let part = case.pipeline.trainable_part(is_key_or_value)?;
            let tensors = case.pipeline.unet_params.with_part(&part);
            let plain = case.pipeline.unet(&tensors)?;
            let named = part.vars().into_iter();
            let named: Vec<_> = named
                .map(|(tensor, var)| (format!("unet.{tensor}"), var))
                .collect();
            let trained = [case.tokens(), named.clone()].concat();
            let texts = case.with_word(case.pipeline.texts())?;
            case.unet = plain.detaching_first_token(true);
            let without = case.check(name, &texts, &trained)?;
            assert_eq!(without, BTreeSet::new());
            // Prediction and loss beside them.
            let golden = case.golden.below(&format!("{name}."));
            assert_eq!(golden.len(), trained.len() + 2);

            // The prediction is the plain one, to the bit; the gradients are others.
            let gradients = |unet: &UNet2DConditionModel| {
                let tape = Tape::new(false)?;
                let encode = || texts.encode(&PROMPTS, SIZE);
                let output = unet.forward_under(&tape, &image(0)?, &TIMES, encode)?;
                let loss = ops::mean_squared_per_sample(&output, &image(1)?)?;
                Ok::<_, candle_core::Error>((f64s(&output)?, tape.backward(&loss.mean_all()?)?))
            };
            let ((output, _), (same, others)) = (gradients(&case.unet)?, gradients(&plain)?);
            assert_eq!(output, same);
            for (tensor, var) in &named {
                let other = others.get(var).expect("a gradient");
                let off = relative(other, &golden[tensor])?;
                assert!(off > 1e-2, "{tensor}: {off:e}");
            }
        }
        Ok(())
    })
}

#[test]
fn every_a_and_b_of_adapters_and_a_new_word() -> Result<()> {
    on_pool(|| {
        let case = Case::load("sd")?;
        let texts = case.pipeline.texts();
        let (config, frozen) = texts.open()?.remove(0);
        let shapes = frozen.shapes().into_iter();
        let projections = shapes.filter_map(|(name, shape)| {
            let module = name.strip_suffix(".weight")?;
            module
                .ends_with("_proj")
                .then(|| (module.to_owned(), shape))
        });
        let modules = projections
            .enumerate()
            .map(|(i, (name, shape))| {
                let module = LoraModule {
                    a: wave(&[2, shape[1]], 4 + 2 * i, 0.25)?,
                    b: wave(&[shape[0], 2], 5 + 2 * i, 0.25)?,
                    alpha: ALPHA,
                };
                Ok((name, module))
            })
            .collect::<Result<BTreeMap<_, _>>>()?;
        assert_eq!(modules.len(), 8);
        let adapters = Adapters::from_modules(&frozen, &modules, true)?;
        let scope = frozen.with_adapters(&adapters).root();
        let encoder = ClipTextModel::new(&config, &scope, &Place::default())?;
        assert_eq!(adapters.params().unused(), Vec::<String>::new());
        let texts = case.with_word(&texts.with_encoders(&[encoder])?)?;
        let mut trained = case.tokens();
        trained.extend(adapters.params().vars());
        assert_eq!(trained.len(), 1 + 2 * modules.len());
        let without = case.check("sd.lora", &texts, &trained)?;
        assert_eq!(without, BTreeSet::new());
        // Prediction and loss beside them.
        assert_eq!(case.golden.below("sd.lora.").len(), trained.len() + 2);
        Ok(())
    })
}
