//! From prompts to pictures, as in diffusers; and messages about broken folders.

use std::fs;
use std::path::Path;

use crate::support::{Golden, assert_close, micro};
use candle_core::{Result, Tensor};
use image::RgbImage;
use rpo_diffusion::{Pipeline, SamplerConfig, Solver, sample};
use rpo_nn::weights::{Archive, Item, Precision, pt, to_bytes};

#[test]
fn prompts_to_pictures() -> Result<()> {
    let golden = Golden::load("micro")?;
    let pipeline = Pipeline::load(&micro(""))?;
    assert_eq!(pipeline.sample_size, 64);
    assert_eq!(pipeline.latent_dims(), [16, 16, 4]);
    let prompts = ["a dog in the snow", "a red car in a city"];
    let cond = pipeline.encode_prompts(&prompts, 64)?;
    let uncond = pipeline.unconditional(64)?;
    assert_close("cond", &cond.hidden_states, &golden.raw("cond")?, 1e-5);
    assert_close(
        "uncond",
        &uncond.hidden_states,
        &golden.raw("uncond")?,
        1e-5,
    );

    let unet = pipeline.unet(&pipeline.unet_params)?;
    let config = SamplerConfig {
        solver: Solver::Ddim,
        eta: 0.,
        steps: 20,
        guidance: 5.,
        guidance_interval: None,
        batch: 2,
    };
    let latents = golden.nhwc("sample.latents")?;
    let latents = sample(
        &unet,
        &pipeline.schedule,
        &config,
        &latents,
        &cond,
        &uncond,
        &mut |_, _| Vec::new(),
        &mut |_| {},
    )?;
    let expected = golden.raw("sample.ddim20.u8")?;
    for batch in [1, 2] {
        let pictures = pipeline.decode(&latents, batch)?;
        assert_eq!(pictures.len(), 2);
        for (i, picture) in pictures.iter().enumerate() {
            let expected = expected.get(i)?.flatten_all()?.to_vec1::<u8>()?;
            let off = picture
                .as_raw()
                .iter()
                .zip(&expected)
                .map(|(a, b)| a.abs_diff(*b));
            let (worst, differing) = (off.clone().max().unwrap(), off.filter(|d| *d > 0).count());
            println!(
                "picture {i}: worst {worst} / 255, {differing} of {} bytes differ",
                expected.len()
            );
            assert!(worst <= 2, "picture {i} is off by {worst}");
        }
    }
    Ok(())
}

#[test]
fn equal_prompts_and_pictures_back() -> Result<()> {
    let golden = Golden::load("micro")?;
    let pipeline = Pipeline::load(&micro(""))?;
    let three = pipeline
        .encode_prompts(&["a dog in the snow", "", "a dog in the snow"], 64)?
        .hidden_states;
    assert_eq!(three.dims(), [3, 24, 128]);
    let (first, last) = (three.get(0)?, three.get(2)?);
    assert_eq!(crate::support::f64s(&first)?, crate::support::f64s(&last)?);
    assert!(crate::support::relative(&first, &three.get(1)?)? > 0.1);
    assert!(pipeline.encode_prompts::<&str>(&[], 64).is_err());

    // The golden picture's values are not on the byte grid; a picture in bytes is encoded by hand.
    let bytes: Vec<u8> = (0..64 * 64 * 3).map(|i| (i * 7 % 256) as u8).collect();
    let picture = RgbImage::from_raw(64, 64, bytes.clone()).unwrap();
    let values: Vec<f32> = bytes
        .iter()
        .map(|&b| f32::from(b) / 255. * 2. - 1.)
        .collect();
    let x = Tensor::from_vec(values, (1, 64, 64, 3), three.device())?;
    let scale = pipeline.vae_config.scaling_factor;
    let noise = golden.nhwc("sample.latents")?.narrow(0, 0, 1)?;
    let by_hand = (pipeline.vae()?.encode(&x)?.sample(&noise)? * scale)?;
    let posterior = pipeline.encode_pictures(&[picture.clone(), picture.clone()])?;
    assert_eq!(posterior.mean.dims(), [2, 16, 16, 4]);
    let second = posterior
        .sample(&Tensor::cat(&[&noise, &noise], 0)?)?
        .narrow(0, 1, 1)?;
    assert_close("scaled sample", &second, &by_hand, 1e-5);

    let message = |p: &[RgbImage]| pipeline.encode_pictures(p).unwrap_err().to_string();
    assert!(message(&[]).contains("no pictures"));
    assert!(message(&[picture, RgbImage::new(32, 64)]).contains("one size"));
    assert!(message(&[RgbImage::new(30, 64)]).contains("multiples of 4"));
    assert!(pipeline.decode(&noise, 0).is_err());
    Ok(())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The message of loading a copy of the embedded model after `damage`.
fn message(damage: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(
        micro("model_index.json"),
        dir.path().join("model_index.json"),
    )
    .unwrap();
    for part in ["unet", "vae", "text_encoder", "tokenizer", "scheduler"] {
        copy(&micro(part), &dir.path().join(part));
    }
    damage(dir.path());
    match Pipeline::load(dir.path()) {
        Ok(_) => panic!("a broken folder was loaded"),
        Err(e) => e.to_string(),
    }
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(path, text.replace(from, to)).unwrap();
}

/// Makes the last value of a file of weights NaN.
fn spoil(path: &Path) {
    let archive = Archive::open(path).unwrap();
    let width = archive.precision().width();
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.len();
    bytes[end - width..].fill(0xff);
    fs::write(path, bytes).unwrap();
}

#[test]
fn texts_that_are_not_finite_are_told_with_their_encoder() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(
        micro("model_index.json"),
        dir.path().join("model_index.json"),
    )
    .unwrap();
    for part in ["unet", "vae", "text_encoder", "tokenizer", "scheduler"] {
        copy(&micro(part), &dir.path().join(part));
    }
    // Finite weights whose products are not.
    let path = dir.path().join("text_encoder/model.safetensors");
    let archive = Archive::open(&path).unwrap();
    let huge = archive.items().into_iter().map(|item| {
        let factor = if item.name.ends_with("final_layer_norm.weight") {
            1e38
        } else {
            1.
        };
        Item::new(item.name.clone(), item.shape.clone(), move || {
            Ok(item
                .values()?
                .into_iter()
                .map(|v| (v * factor).clamp(-3e38, 3e38))
                .collect())
        })
    });
    let bytes = to_bytes(&huge.collect::<Vec<_>>(), Precision::F32, &pt()).unwrap();
    fs::write(&path, bytes).unwrap();
    let pipeline = Pipeline::load(dir.path()).unwrap();
    let message = pipeline
        .encode_prompts(&["a dog"], 64)
        .err()
        .unwrap()
        .to_string();
    assert!(
        message.contains("text_encoder: states of texts: value [0, "),
        "{message}"
    );
}

#[test]
fn broken_folders_are_told_by_name() {
    let absent = Pipeline::load(Path::new("nowhere/at-all"))
        .err()
        .unwrap()
        .to_string();
    assert!(absent.contains("nowhere/at-all"), "{absent}");

    let all = |message: &str, words: &[&str]| {
        for word in words {
            assert!(message.contains(word), "{word:?} is not in: {message}");
        }
    };
    all(
        &message(|d| fs::remove_file(d.join("model_index.json")).unwrap()),
        &["model_index.json", "copy the folder"],
    );
    all(
        &message(|d| fs::remove_dir_all(d.join("vae")).unwrap()),
        &["vae", "missing", "copy"],
    );
    all(
        &message(|d| fs::remove_file(d.join("unet/config.json")).unwrap()),
        &["unet/config.json", "copy"],
    );
    all(
        &message(|d| fs::remove_file(d.join("unet/diffusion_pytorch_model.safetensors")).unwrap()),
        &["unet", "diffusion_pytorch_model.safetensors"],
    );
    all(
        &message(|d| fs::remove_file(d.join("tokenizer/merges.txt")).unwrap()),
        &["tokenizer", "merges.txt"],
    );
    all(
        &message(|d| fs::remove_file(d.join("scheduler/scheduler_config.json")).unwrap()),
        &["scheduler_config.json", "copy"],
    );
    let class = |to: &'static str| {
        move |d: &Path| edit(&d.join("model_index.json"), "StableDiffusionPipeline", to)
    };
    all(
        &message(class("StableDiffusion3Pipeline")),
        &["StableDiffusion3Pipeline", "not supported"],
    );
    all(
        &message(class("StableDiffusionXLPipeline")),
        &["text_encoder_2", "not listed"],
    );
    let flow = |d: &Path| {
        edit(
            &d.join("scheduler/scheduler_config.json"),
            "DDIMScheduler",
            "FlowMatchEulerDiscreteScheduler",
        )
    };
    all(
        &message(flow),
        &["scheduler_config.json", "FlowMatchEulerDiscreteScheduler"],
    );
    // A configuration of another model than the weights: a missing tensor, a wrong shape, tensors left over.
    let deeper = |d: &Path| {
        edit(
            &d.join("unet/config.json"),
            "\"layers_per_block\": 1",
            "\"layers_per_block\": 2",
        )
    };
    all(
        &message(deeper),
        &[
            "down_blocks.0.resnets.1",
            "diffusion_pytorch_model.safetensors",
        ],
    );
    let wider = |d: &Path| {
        edit(
            &d.join("unet/config.json"),
            "\"cross_attention_dim\": 128",
            "\"cross_attention_dim\": 64",
        )
    };
    all(&message(wider), &["attn2.to_k", "128", "64"]);
    let fewer = |d: &Path| {
        edit(
            &d.join("vae/config.json"),
            "\"use_quant_conv\": true",
            "\"use_quant_conv\": false",
        )
    };
    all(&message(fewer), &["vae", "quant_conv", "config.json"]);
    // A shape that is wrong is told before a value is read: the same file has one that is not finite.
    let broken = |d: &Path| spoil(&d.join("unet/diffusion_pytorch_model.safetensors"));
    all(
        &message(broken),
        &[
            "unet/diffusion_pytorch_model.safetensors: tensor ",
            "is NaN",
            "hint",
        ],
    );
    let both = |d: &Path| {
        broken(d);
        wider(d);
    };
    all(&message(both), &["attn2.to_k", "128", "64"]);
    for part in [
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    ] {
        all(
            &message(|d| spoil(&d.join(part))),
            &[part, "tensor ", "is NaN"],
        );
    }
    let truncated = |d: &Path| {
        let path = d.join("unet/diffusion_pytorch_model.safetensors");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    };
    all(
        &message(truncated),
        &["diffusion_pytorch_model.safetensors"],
    );
}
