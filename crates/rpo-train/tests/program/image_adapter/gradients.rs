//! Its losses and their gradients against torch 2.15 in f64, with diffusers 0.42.1 and peft 0.21.2, by
//! `scripts/golden/image_adapter.py`.

use crate::checkpoints::numbers;
use candle_core::{DType, Device, Tensor, Var};
use rpo_data::random;
use rpo_diffusion::lora::{Adapters, LoraModule};
use rpo_diffusion::{Conditioning, ImageAdapter, Pipeline};
use rpo_nn::weights::Params;
use rpo_pref::Norm;
use rpo_pref::recipe::Recipe;
use rpo_pref::terms::Rows;
use rpo_train::runner::objective::{Batch, Noised, Objective};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Of each gradient's largest value. PyTorch's own f32 is at most 1.8e-5 from its f64 here, this program 3.4e-5.
const TOLERANCE: f64 = 5e-5;

const TIMES: [usize; 4] = [1, 481, 999, 250];
/// Of the latents, `[B, C, H, W]`.
const SHAPE: [usize; 4] = [4, 4, 8, 6];
const TOKENS: usize = 6;
const WIDTH: usize = 16;
const ALPHA: f64 = 3.0;
const TARGETS: [&str; 4] = ["to_k", "to_out.0", "to_q", "to_v"];
/// The image adapter's tensors in the order of their values.
const ADAPTER: [&str; 5] = ["mask", "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"];

fn tests_of(of: &str) -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates.unwrap().join(of).join("tests/golden")
}

/// `scale` times `wave()` of the script.
fn wave(shape: &[usize], k: usize, scale: f32) -> Tensor {
    let z = |i: usize| 2f64.sqrt() * (1. + 3. * i as f64 + 7. * k as f64).sin();
    let n = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| z(i) as f32 * scale).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Channels last.
fn image(shape: &[usize; 4], k: usize) -> Tensor {
    let image = wave(shape, k, 1.0).permute((0, 2, 3, 1)).unwrap();
    image.contiguous().unwrap()
}

fn f64s(t: &Tensor) -> Vec<f64> {
    let t = t.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
    t.to_vec1().unwrap()
}

/// What is trained, as in the script: adapters on the U-Net's attention, and the image adapter.
struct Tuned {
    pipeline: Pipeline,
    adapters: Adapters,
    image: Params,
}

impl Tuned {
    fn new() -> Self {
        let folder = tests_of("rpo-diffusion").join("text_gradients/sd");
        let pipeline = Pipeline::load(&folder).unwrap();
        let shapes: BTreeMap<String, Vec<usize>> = (pipeline.unet_params.shapes().into_iter())
            .filter_map(|(name, shape)| Some((name.strip_suffix(".weight")?.to_owned(), shape)))
            .filter(|(name, _)| TARGETS.iter().any(|t| name.ends_with(&format!(".{t}"))))
            .collect();
        // By the names of all A and B, sorted.
        let modules = shapes.iter().enumerate().map(|(i, (name, shape))| {
            let module = LoraModule {
                a: wave(&[2, shape[1]], 20 + 2 * i, 0.25),
                b: wave(&[shape[0], 2], 21 + 2 * i, 0.25),
                alpha: ALPHA,
            };
            (name.clone(), module)
        });
        let modules: BTreeMap<String, LoraModule> = modules.collect();
        assert_eq!(modules.len(), 32);
        let adapters = Adapters::from_modules(&pipeline.unet_params, &modules, true).unwrap();
        let shapes = BTreeMap::from(ImageAdapter::shapes(WIDTH));
        let own = ADAPTER.iter().enumerate();
        let own = own.map(|(k, name)| ((*name).to_owned(), wave(&shapes[name], 10 + k, 0.25)));
        Self {
            image: Params::from_tensors(own, "image adapter", true).unwrap(),
            adapters,
            pipeline,
        }
    }

    fn vars(&self) -> Vec<(String, Var)> {
        [self.adapters.params().vars(), self.image.vars()].concat()
    }

    /// The batch of the script; `mixed`: with masks and weights of the samples.
    fn batch(&self, mixed: bool) -> Batch {
        let (x0, noise) = (image(&SHAPE, 0), image(&SHAPE, 1));
        let text = Conditioning::from(wave(&[4, TOKENS, WIDTH], 2, 1.0));
        let rows = Noised::new(&self.pipeline.schedule, &x0, &noise, &TIMES, text).unwrap();
        let mut batch = Batch::default();
        let rows = match mixed {
            false => rows,
            true => {
                let area = (image(&[4, 1, 8, 6], 4) * 0.25).unwrap();
                let area = (area + 0.5).unwrap().clamp(0f32, 1f32).unwrap();
                let weights = vec![0.5, 1.0, 0.25, 0.75];
                for rows in [Rows::Reference, Rows::WithoutImage] {
                    batch.weights.insert(rows, weights.clone());
                }
                rows.masked(&area).unwrap()
            }
        };
        batch.rows.insert(Rows::WithoutImage, rows.clone());
        let embeddings = wave(&[4, WIDTH], 3, 1.0);
        batch
            .rows
            .insert(Rows::Reference, rows.with_image(embeddings));
        batch
    }
}

#[test]
fn losses_and_every_gradient_are_those_of_pytorch() {
    rpo_nn::on_pool(|| {
        let path = tests_of("rpo-train").join("image_adapter.safetensors");
        let golden: HashMap<String, Tensor> =
            candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        let tuned = Tuned::new();
        let unet = &tuned.pipeline.unet_params;
        let theta = (tuned.pipeline)
            .unet(&unet.with_adapters(&tuned.adapters))
            .unwrap();
        let base = tuned.pipeline.unet(unet).unwrap();
        let adapter = ImageAdapter::new(&tuned.image, WIDTH).unwrap();
        let mut worst = (0.0, String::new());
        for (case, mixed, [sim, weak, contrastive]) in [
            ("plain", false, [1.0, 0.01, 0.001]),
            ("mixed", true, [1.0, 0.5, 0.25]),
        ] {
            let recipe = Recipe {
                norm: Norm::Mean,
                l_sim_weight: sim,
                weak_denoising_weight: weak,
                contrastive_weight: contrastive,
                ..Recipe::disenbooth()
            };
            let batch = tuned.batch(mixed);
            for (parts, recompute) in [(1, false), (1, true), (2, false)] {
                let objective = Objective {
                    terms: &recipe.objective(),
                    norm: recipe.norm,
                    theta: &theta,
                    reading: None,
                    images: Some(&adapter),
                    base: &base,
                    recompute,
                };
                let (losses, grads) = objective.gradients(&batch, parts).unwrap();
                let mut values = losses.terms.clone();
                values.insert("total", losses.total);
                assert_eq!(values.len(), 4);
                for (name, value) in values {
                    let expected = f64s(&golden[&format!("{case}.{name}")])[0];
                    let off = (value - expected).abs();
                    assert!(off <= 1e-6, "{case}, {parts}: {name} {value} {expected}");
                }
                for (name, var) in tuned.vars() {
                    let key = format!("{case}.{name}");
                    let found = f64s(grads.get(&var).expect(&key));
                    let expected = f64s(&golden[&key]);
                    assert_eq!(found.len(), expected.len(), "{key}");
                    let most = expected.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
                    let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
                    let off = off.fold(0.0, f64::max) / most;
                    if off > worst.0 {
                        worst = (off, key);
                    }
                }
            }
        }
        println!("worst gradient {:.2e} ({})", worst.0, worst.1);
        assert!(worst.0 <= TOLERANCE, "{} is off by {:e}", worst.1, worst.0);
        // PyTorch has no tensor that was not compared.
        assert_eq!(golden.len(), 2 * (4 + tuned.vars().len()));
    });
}

#[test]
fn what_lacks_a_picture_or_an_adapter_is_refused() {
    rpo_nn::on_pool(|| {
        let tuned = Tuned::new();
        let unet = tuned.pipeline.unet(&tuned.pipeline.unet_params).unwrap();
        let adapter = ImageAdapter::new(&tuned.image, WIDTH).unwrap();
        let recipe = Recipe::disenbooth();
        let of = |batch: &Batch, images| {
            let objective = Objective {
                terms: &recipe.objective(),
                norm: recipe.norm,
                theta: &unet,
                reading: None,
                images,
                base: &unet,
                recompute: false,
            };
            match objective.gradients(batch, 1) {
                Ok(_) => "computed".to_owned(),
                Err(e) => format!("{e:#}"),
            }
        };
        let mut batch = tuned.batch(false);
        assert_eq!(of(&batch, Some(&adapter)), "computed");
        assert_eq!(of(&batch, None), "pictures without an image adapter");
        let alone = batch.rows[&Rows::WithoutImage].clone();
        batch.rows.insert(Rows::Reference, alone);
        assert_eq!(of(&batch, Some(&adapter)), "no pictures");
    });
}

/// A start as PyTorch's `Linear`, and f at the mask's start: half of f0 goes through.
#[test]
fn it_starts_half_open() {
    let width = 64;
    let stream = |name: &str, n: usize| -> Vec<f64> {
        let mut stream = random::stream(3, name, &[]);
        (0..n).map(|_| random::unit(&mut stream)).collect()
    };
    let params = ImageAdapter::start(width, stream).unwrap();
    let shapes = ImageAdapter::shapes(width);
    assert_eq!(params.shapes(), shapes.map(|(n, s)| (n.to_owned(), s)));
    for (name, tensor) in params.tensors_sorted().unwrap() {
        let values = numbers(&tensor);
        let most = values.iter().fold(0f32, |m, v| m.max(v.abs()));
        match name.as_str() {
            "mask" => assert_eq!(most, 0.0),
            _ => assert!(most <= 0.125 && most > 0.11, "{name}: {most}"),
        }
    }
    let tensors = params.tensors_sorted().unwrap().into_iter();
    let tensors = tensors.map(|(name, tensor)| match name.starts_with("fc2") {
        true => (name, tensor.zeros_like().unwrap()),
        false => (name, tensor),
    });
    let params = Params::from_tensors(tensors, "closed behind", false).unwrap();
    let f0 = wave(&[3, width], 0, 1.0);
    let adapter = ImageAdapter::new(&params, width).unwrap();
    let f = numbers(&adapter.forward(&f0).unwrap());
    let half = numbers(&(f0 * 0.5).unwrap());
    let off = f.iter().zip(&half).map(|(a, b)| (a - b).abs());
    let off = off.fold(0.0, f32::max);
    assert!(off < 1e-6, "{off}");
}
