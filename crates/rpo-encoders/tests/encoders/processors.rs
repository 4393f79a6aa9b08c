//! Input tensors against transformers' Pillow processors.

use crate::support::{json, picture, tensors, values};
use rpo_encoders::image_processor::ImageProcessor;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Case {
    picture: String,
    config: Value,
}

fn processor(config: &Value) -> candle_core::Result<ImageProcessor> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("preprocessor_config.json"),
        config.to_string(),
    )
    .unwrap();
    ImageProcessor::load(folder.path())
}

/// One 8-bit level is 0.0039 before normalising and more after it, so 1e-6 means that every pixel is the same.
#[test]
fn pillow() {
    let cases: Vec<Case> = json("processor_cases.json");
    let want = tensors("processor_cases.safetensors");
    assert!(cases.len() >= 8);
    for (index, case) in cases.iter().enumerate() {
        let got = processor(&case.config)
            .unwrap()
            .preprocess(&[picture(&case.picture)])
            .unwrap()
            .squeeze(0)
            .unwrap();
        let want = &want[&index.to_string()];
        assert_eq!(got.dims(), want.dims(), "case {index}: {}", case.config);
        let worst = values(&got)
            .iter()
            .zip(values(want))
            .map(|(a, b)| (a - b).abs() / b.abs().max(1.0))
            .fold(0.0, f32::max);
        println!("case {index}: {worst:.1e}");
        assert!(worst <= 1e-6, "case {index}: {worst:.1e}, {}", case.config);
    }
}

#[test]
fn old_files() {
    let old = processor(&json!({
        "feature_extractor_type": "CLIPFeatureExtractor", "size": 40, "crop_size": 40, "resample": 3,
        "do_resize": true, "do_center_crop": true, "do_normalize": true,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]
    }))
    .unwrap();
    let got = old.preprocess(&[picture("wide.png")]).unwrap();
    // Case 0 has the same settings under their new names.
    let want = &tensors("processor_cases.safetensors")["0"];
    assert_eq!(values(&got), values(want));
    let vit = json!({"feature_extractor_type": "ViTFeatureExtractor", "size": 40});
    let got = processor(&vit)
        .unwrap()
        .preprocess(&[picture("wide.png")])
        .unwrap();
    assert_eq!(got.dims(), [1, 40, 40, 3]);
}

#[test]
fn a_batch_is_its_pictures() {
    let config =
        json!({"image_processor_type": "ViTImageProcessor", "size": {"height": 24, "width": 31}});
    let processor = processor(&config).unwrap();
    let pictures = ["wide.png", "grey.png", "alpha.png"].map(picture);
    let all = processor.preprocess(&pictures).unwrap();
    for (index, one) in pictures.iter().enumerate() {
        let one = processor.preprocess(std::slice::from_ref(one)).unwrap();
        assert_eq!(values(&all.get(index).unwrap()), values(&one));
    }
}

#[test]
fn errors_name_file_and_key() {
    let wrong = |config: Value, word: &str| {
        let error = processor(&config).unwrap_err().to_string();
        assert!(
            error.contains("preprocessor_config.json") && error.contains(word),
            "{error}"
        );
    };
    wrong(json!({"size": 64}), "image_processor_type");
    wrong(
        json!({"image_processor_type": "BlipImageProcessor"}),
        "BlipImageProcessor",
    );
    let vit = "ViTImageProcessor";
    wrong(
        json!({"image_processor_type": vit, "resample": 9}),
        "resample",
    );
    wrong(
        json!({"image_processor_type": vit, "size": {"longest_edge": 9}}),
        "size",
    );
    wrong(
        json!({"image_processor_type": vit, "image_std": [0.0, 1.0, 1.0]}),
        "image_std",
    );
    wrong(
        json!({"image_processor_type": vit, "rescale_factor": "1/255"}),
        "rescale_factor",
    );
    let huge = json!(1_000_000_000);
    for (key, value) in [
        ("size", json!({"height": 0, "width": 9})),
        ("size", huge.clone()),
        ("size", json!("large")),
        ("size", json!({"shortest_edge": -1})),
        ("image_mean", json!([0.5, 0.5])),
        ("image_mean", json!(1e300)),
        ("image_std", json!([1.0, 1.0, 1.0, 1.0])),
        ("image_std", json!(1e-45)),
        ("rescale_factor", json!(1e300)),
        ("resample", json!(-1)),
        ("resample", json!("bicubic")),
    ] {
        wrong(json!({"image_processor_type": vit, key: value}), key);
    }
    let crop =
        |size: Value| json!({"image_processor_type": "CLIPImageProcessor", "crop_size": size});
    wrong(crop(huge.clone()), "crop_size");
    wrong(crop(json!({"height": huge, "width": 3})), "crop_size");
    wrong(crop(json!({"height": 3})), "crop_size");
    let strip = image::RgbImage::new(1, 5000);
    let clip = processor(&json!({"image_processor_type": "CLIPImageProcessor"})).unwrap();
    let error = clip.preprocess(&[strip]).unwrap_err().to_string();
    assert!(
        error.contains("1x5000") && error.contains("size"),
        "{error}"
    );
    let keep = json!({"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 20}, "do_center_crop": false});
    let pictures = [picture("wide.png"), picture("grey.png")];
    let error = processor(&keep)
        .unwrap()
        .preprocess(&pictures)
        .unwrap_err()
        .to_string();
    assert!(error.contains("different sizes"), "{error}");
}
