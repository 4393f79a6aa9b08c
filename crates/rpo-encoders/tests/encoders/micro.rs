//! The embedded models against transformers on the same float16 weights converted to f32.

use crate::support::{close, json, least_cosine, micro, picture, relative_error, tensors, values};
use candle_core::{Device, Tensor, Var};
use image::RgbImage;
use ndarray::Array2;
use rpo_encoders::clip::{ClipImageConfig, ClipImageEncoder, ClipTextConfig, ClipTextModel};
use rpo_encoders::dual::{Architecture, DualEncoder};
use rpo_encoders::folder;
use rpo_encoders::image_processor::ImageProcessor;
use rpo_encoders::tokenizer::ClipTokenizer;
use rpo_encoders::vit::VitEncoder;
use rpo_nn::{Place, Tape};
use serde::Deserialize;

#[derive(Deserialize)]
struct Inputs {
    pictures: Vec<String>,
    prompts: Vec<String>,
}

fn inputs() -> (Vec<RgbImage>, Vec<String>) {
    let inputs: Inputs = json("micro.json");
    (
        inputs.pictures.iter().map(|name| picture(name)).collect(),
        inputs.prompts,
    )
}

#[derive(Deserialize)]
struct TokenRows {
    vocabulary: usize,
    ids: Vec<Vec<u32>>,
    loss: f64,
    pooled: Vec<Vec<f32>>,
    gradient: Vec<Vec<f64>>,
}

/// New words, as textual inversion trains them: states and the gradient of their rows against PyTorch, on a tape and without one.
#[test]
fn added_rows_have_the_states_and_gradients_of_pytorch() {
    let golden: TokenRows = json("token_rows.json");
    let dir = micro("text_encoder");
    let model = ClipTextModel::load(&dir, None, &Place::default()).unwrap();
    assert_eq!(model.config().vocab_size, golden.vocabulary);
    let width = model.config().hidden_size;
    let places = (0..width).map(|i| i as f64);
    let rows: Vec<f32> = places
        .clone()
        .map(|i| i.sin() as f32)
        .chain(places.map(|i| (i.cos() / 4.0) as f32))
        .collect();
    let rows = Var::from_vec(rows, (2, width), &Device::Cpu).unwrap();
    let states = || model.forward_with(&golden.ids, Some(&rows));
    let out = states().unwrap();
    for (row, want) in golden.pooled.iter().enumerate() {
        let got = out.pooled.get(row).unwrap().to_vec1::<f32>().unwrap();
        let off = got.iter().zip(want).map(|(a, b)| (a - b).abs());
        assert!(off.fold(0.0, f32::max) < 1e-4);
    }
    let n = out.last_hidden_state.elem_count();
    let weights: Vec<f32> = (0..n).map(|i| (0.1 * i as f64).sin() as f32).collect();
    let weights = Tensor::from_vec(weights, out.last_hidden_state.dims(), &Device::Cpu).unwrap();
    rpo_nn::on_pool(|| {
        for tape in [None, Some(Tape::new(false).unwrap())] {
            let states = match &tape {
                None => states().unwrap().last_hidden_state,
                Some(tape) => tape.record(|| Ok(states()?.last_hidden_state)).unwrap(),
            };
            let loss = (states * &weights).unwrap().sum_all().unwrap();
            let value = f64::from(loss.to_scalar::<f32>().unwrap());
            assert!((value / golden.loss - 1.0).abs() < 1e-5, "{value}");
            let grads = match tape {
                None => loss.backward().unwrap(),
                Some(tape) => tape.backward(&loss).unwrap(),
            };
            let grad = grads.get(&rows).unwrap().to_vec2::<f32>().unwrap();
            for (got, want) in grad.iter().zip(&golden.gradient) {
                let off: f64 = got
                    .iter()
                    .zip(want)
                    .map(|(a, b)| (f64::from(*a) - b).powi(2))
                    .sum();
                let length: f64 = want.iter().map(|b| b * b).sum();
                assert!((off / length).sqrt() < 1e-5, "{}", (off / length).sqrt());
            }
        }
    });
    let beyond = vec![vec![golden.vocabulary as u32 + 2; 4]];
    assert!(model.forward_with(&beyond, Some(&rows)).is_err());
    assert!(model.forward(&golden.ids).is_err());
}

/// Cosine at least 0.99999 in every row, and no error above 1e-4 of the largest number.
fn same(what: &str, got: &Array2<f32>, golden: &str) {
    let want = &tensors("micro.safetensors")[golden];
    assert_eq!(got.shape(), want.dims(), "{what}");
    let (got, want, width) = (
        got.iter().copied().collect::<Vec<_>>(),
        values(want),
        got.ncols(),
    );
    let (cosine, error) = (
        least_cosine(&got, &want, width),
        relative_error(&got, &want),
    );
    println!(
        "{what}: 1 - cosine {:.1e}, relative error {error:.1e}",
        1.0 - cosine
    );
    assert!(cosine >= 0.99999, "{what}: cosine {cosine}");
    assert!(error <= 1e-4, "{what}: {error:.1e}");
    for row in got.chunks_exact(width) {
        let norm: f64 = row.iter().map(|x| f64::from(*x).powi(2)).sum();
        assert!((norm - 1.0).abs() < 1e-6);
    }
}

#[test]
fn reward() {
    let (pictures, prompts) = inputs();
    let encoder = DualEncoder::load(&micro("reward"), &Place::default()).unwrap();
    assert_eq!(
        (
            encoder.architecture(),
            encoder.dim(),
            encoder.name().as_str()
        ),
        (Architecture::Align, 128, "reward")
    );
    same(
        "reward, pictures",
        &encoder.embed_images(&pictures).unwrap(),
        "reward_image",
    );
    same(
        "reward, texts",
        &encoder.embed_texts(&prompts).unwrap(),
        "reward_text",
    );
    let pixels = ImageProcessor::load(&micro("reward"))
        .unwrap()
        .preprocess(&pictures)
        .unwrap();
    close(
        "reward, pixels",
        &pixels,
        &tensors("micro.safetensors")["reward_pixels"],
        1e-6,
    );
}

#[test]
fn eval_clip() {
    let (pictures, prompts) = inputs();
    let encoder = DualEncoder::load(&micro("eval_clip"), &Place::default()).unwrap();
    assert_eq!(
        (encoder.architecture(), encoder.dim()),
        (Architecture::Clip, 128)
    );
    same(
        "eval_clip, pictures",
        &encoder.embed_images(&pictures).unwrap(),
        "eval_clip_image",
    );
    same(
        "eval_clip, texts",
        &encoder.embed_texts(&prompts).unwrap(),
        "eval_clip_text",
    );
}

#[test]
fn eval_dino() {
    let encoder = VitEncoder::load(&micro("eval_dino"), &Place::default()).unwrap();
    same(
        "eval_dino",
        &encoder.embed_images(&inputs().0).unwrap(),
        "eval_dino_image",
    );
    let files = encoder.source_files().unwrap();
    assert_eq!(files.len(), 3, "{files:?}");
}

#[test]
fn text_encoder() {
    let dir = micro("text_encoder");
    let tokenizer = ClipTokenizer::load(&micro("tokenizer")).unwrap();
    let params = folder::open_params(&dir, false).unwrap();
    let model = ClipTextModel::new(
        &ClipTextConfig::load(&dir).unwrap(),
        &params.root(),
        &Place::default(),
    )
    .unwrap();
    assert!(params.unused().is_empty(), "{:?}", params.unused());
    let ids = tokenizer.encode_batch(&inputs().1).unwrap();
    let out = model.forward(&ids).unwrap();
    let want = tensors("micro.safetensors");
    let hidden = &want["text_encoder_last_hidden_state"];
    close("text_encoder", &out.last_hidden_state, hidden, 1e-4);
    close(
        "text_encoder, pooled",
        &out.pooled,
        &want["text_encoder_pooled"],
        1e-4,
    );
    let cosine = least_cosine(&values(&out.last_hidden_state), &values(hidden), 128);
    assert!(cosine >= 0.99999, "{cosine}");
}

/// 70 pictures and texts fill two batches and a part of a third; each result must equal that of a single one.
#[test]
fn batches() {
    let (pictures, prompts) = inputs();
    let encoder = DualEncoder::load(&micro("reward"), &Place::default()).unwrap();
    let (one, text) = (
        encoder.embed_images(&pictures).unwrap(),
        encoder.embed_texts(&prompts).unwrap(),
    );
    let many: Vec<RgbImage> = (0..70)
        .map(|k| pictures[k % pictures.len()].clone())
        .collect();
    let texts: Vec<String> = (0..70)
        .map(|k| prompts[k % prompts.len()].clone())
        .collect();
    let (all, all_texts) = (
        encoder.embed_images(&many).unwrap(),
        encoder.embed_texts(&texts).unwrap(),
    );
    for k in 0..70 {
        let (a, b) = (all.row(k), one.row(k % pictures.len()));
        assert!(
            a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6),
            "picture {k}"
        );
        assert_eq!(all_texts.row(k), text.row(k % prompts.len()), "text {k}");
    }
    assert_eq!(encoder.embed_images(&[]).unwrap().shape(), [0, 128]);
    assert_eq!(encoder.embed_texts(&[]).unwrap().shape(), [0, 128]);
}

/// `pictures()` of `scripts/golden/image_adapter.py`.
fn patterns() -> Vec<RgbImage> {
    let one = |side: u32, k: u32| {
        RgbImage::from_fn(side, side, |x, y| {
            let value = |c: u32| ((7 * y + 3 * x + 91 * c + 50 * k + x * y % 31) % 256) as u8;
            image::Rgb([0, 1, 2].map(value))
        })
    };
    vec![one(64, 0), one(90, 1), one(64, 2)]
}

/// transformers' `image_embeds`, from a whole CLIP and from its vision half alone.
#[test]
fn projected_embeddings_of_pictures() {
    let whole = micro("cond_clip");
    let load = |folder: &std::path::Path| ClipImageEncoder::load(folder, &Place::default());
    let found = load(&whole).unwrap().embeddings(&patterns()).unwrap();
    let expected = &tensors("cond_clip.safetensors")["image_embeds"];
    assert_eq!(found.dims(), [3, 128]);
    let off = relative_error(&values(&found), &values(expected));
    println!("image_embeds {off:.1e}");
    assert!(off < 1e-5, "{off:e}");

    let half = tempfile::tempdir().unwrap();
    let config = std::fs::read_to_string(whole.join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let vision = config["vision_config"].to_string();
    std::fs::write(half.path().join("config.json"), &vision).unwrap();
    let params = folder::open_params(&whole, false).unwrap();
    let of_vision = |name: &str| name.starts_with("vi");
    let part = params.part(of_vision, &Place::default()).unwrap();
    part.save(&half.path().join("model.safetensors")).unwrap();
    let refused = |folder: &std::path::Path| load(folder).unwrap_err().to_string();
    let told = refused(half.path());
    assert!(told.contains("preprocessor_config.json"), "{told}");
    let processor = "preprocessor_config.json";
    std::fs::copy(whole.join(processor), half.path().join(processor)).unwrap();
    let again = load(half.path()).unwrap().embeddings(&patterns()).unwrap();
    assert_eq!(values(&again), values(&found));
    assert_eq!(
        ClipImageConfig::load(half.path()).unwrap(),
        ClipImageConfig::load(&whole).unwrap()
    );

    // Another model, and a tower without its last layers.
    assert!(refused(&micro("eval_dino")).contains("is not CLIP"));
    let shorter = vision.replace("\"num_hidden_layers\":4", "\"num_hidden_layers\":3");
    std::fs::write(half.path().join("config.json"), shorter).unwrap();
    let told = refused(half.path());
    assert!(told.contains("have no place in the network"), "{told}");
}
