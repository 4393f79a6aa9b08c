//! Tiny random models against transformers: cases that the embedded models do not cover.

use std::collections::HashMap;

use crate::support::{close, golden, ids, tensors};
use candle_core::{DType, Tensor};
use rpo_encoders::bert::{BertConfig, BertModel};
use rpo_encoders::clip::{ClipConfig, ClipTextModel, ClipVisionModel};
use rpo_encoders::efficientnet::{EfficientNet, EfficientNetConfig, Pooling};
use rpo_encoders::folder;
use rpo_encoders::tokenizer::TokenBatch;
use rpo_encoders::vit::{VitConfig, VitModel};
use rpo_nn::Place;
use rpo_nn::ops;
use rpo_nn::weights::{Params, Scope};
use serde::Deserialize;

const LIMIT: f64 = 1e-5;

fn project(x: &Tensor, scope: &Scope, shape: [usize; 2], bias: bool) -> Tensor {
    let weight = scope.tensor("weight", &shape).unwrap();
    let bias = bias.then(|| scope.tensor("bias", &[shape[0]]).unwrap());
    ops::linear(x, &weight, bias.as_ref()).unwrap()
}

/// GELU by erf, patches that leave a remainder, and both ways to find EOS.
#[test]
fn clip() {
    let config = ClipConfig::load(&golden("tiny_clip")).unwrap();
    let params = folder::open_params(&golden("tiny_clip"), false).unwrap();
    let (root, want) = (params.root(), tensors("tiny_clip.safetensors"));
    let vision =
        ClipVisionModel::new(&config.vision, &root.sub("vision_model"), &Place::default()).unwrap();
    let out = vision.forward(&want["pixels"]).unwrap();
    close(
        "vision",
        &out.last_hidden_state,
        &want["vision_last_hidden_state"],
        LIMIT,
    );
    let features = project(&out.pooled, &root.sub("visual_projection"), [20, 32], false);
    close("image features", &features, &want["image_features"], LIMIT);

    let text =
        ClipTextModel::new(&config.text, &root.sub("text_model"), &Place::default()).unwrap();
    let out = text.forward(&ids(&want["ids"])).unwrap();
    close(
        "text",
        &out.last_hidden_state,
        &want["text_last_hidden_state"],
        LIMIT,
    );
    let projection = root.sub("text_projection");
    let features = project(&out.pooled, &projection, [20, 24], false);
    close(
        "text features, highest id",
        &features,
        &want["text_features"],
        LIMIT,
    );

    // The prefix `text_model` is found automatically at the root scope.
    let mut first = config.text;
    first.eos_token_id = 7;
    let text = ClipTextModel::new(&first, &root, &Place::default()).unwrap();
    let out = text.forward(&ids(&want["ids_eos_7"])).unwrap();
    let features = project(&out.pooled, &projection, [20, 24], false);
    close(
        "text features, first EOS",
        &features,
        &want["text_features_eos_7"],
        LIMIT,
    );
}

#[derive(Deserialize)]
struct Align {
    text_config: BertConfig,
    vision_config: EfficientNetConfig,
}

/// Width, depth and squeeze factors, kernels 3 to 7, both paddings at odd sizes, both poolings, tanh GELU.
#[test]
fn align() {
    let mut config: Align = folder::read_config(&golden("tiny_align")).unwrap();
    let params = folder::open_params(&golden("tiny_align"), false).unwrap();
    let (root, want) = (params.root(), tensors("tiny_align.safetensors"));
    assert_eq!(config.vision_config.pooling_type, Pooling::Max);
    let image = EfficientNet::new(
        &config.vision_config,
        &root.sub("vision_model"),
        &Place::default(),
    )
    .unwrap();
    let features = image.features(&want["pixels"]).unwrap();
    close(
        "feature map",
        &features,
        &want["image_last_hidden_state"],
        LIMIT,
    );
    let pooled = image.forward(&want["pixels"]).unwrap();
    close("max", &pooled, &want["image_features"], LIMIT);
    config.vision_config.pooling_type = Pooling::Mean;
    let image = EfficientNet::new(
        &config.vision_config,
        &root.sub("vision_model"),
        &Place::default(),
    )
    .unwrap();
    let pooled = image.forward(&want["pixels"]).unwrap();
    close("mean", &pooled, &want["image_features_mean"], LIMIT);

    let text = BertModel::new(
        &config.text_config,
        &root.sub("text_model"),
        &Place::default(),
    )
    .unwrap();
    let batch = TokenBatch {
        ids: ids(&want["ids"]),
        mask: ids(&want["mask"]),
    };
    let class = text.class_state(&batch).unwrap();
    let features = project(&class, &root.sub("text_projection"), [12, 24], true);
    close("text features", &features, &want["text_features"], LIMIT);
    let names = [
        "temperature",
        "text_model.pooler.dense.bias",
        "text_model.pooler.dense.weight",
    ];
    let mut unused = params.unused();
    unused.retain(|name| !name.ends_with("num_batches_tracked"));
    unused.sort();
    assert_eq!(unused, names);
}

/// No bias in the attention, an image that is not square; then the names of transformers 5 and the prefix `vit`.
#[test]
fn vit() {
    let config: VitConfig = folder::read_config(&golden("tiny_vit")).unwrap();
    let params = folder::open_params(&golden("tiny_vit"), false).unwrap();
    let want = tensors("tiny_vit.safetensors");
    let model = VitModel::new(&config, &params.root(), &Place::default()).unwrap();
    let out = model.forward(&want["pixels"]).unwrap();
    close("vit", &out, &want["last_hidden_state"], LIMIT);
    let class = want["last_hidden_state"]
        .narrow(1, 0, 1)
        .unwrap()
        .squeeze(1)
        .unwrap();
    close(
        "class token",
        &model.class_token(&want["pixels"]).unwrap(),
        &class,
        LIMIT,
    );

    let renamed: HashMap<String, Tensor> = candle_core::safetensors::load(
        golden("tiny_vit/model.safetensors"),
        &candle_core::Device::Cpu,
    )
    .unwrap()
    .into_iter()
    .map(|(name, tensor)| {
        let name = name
            .replace("encoder.layer.", "layers.")
            .replace("attention.attention.query", "attention.q_proj")
            .replace("attention.attention.key", "attention.k_proj")
            .replace("attention.attention.value", "attention.v_proj")
            .replace("attention.output.dense", "attention.o_proj")
            .replace("intermediate.dense", "mlp.fc1")
            .replace("output.dense", "mlp.fc2");
        (format!("vit.{name}"), tensor.to_dtype(DType::F32).unwrap())
    })
    .collect();
    let params = Params::from_tensors(renamed, "renamed", false).unwrap();
    let model = VitModel::new(&config, &params.root(), &Place::default()).unwrap();
    let again = model.forward(&want["pixels"]).unwrap();
    assert_eq!(crate::support::values(&again), crate::support::values(&out));
}
