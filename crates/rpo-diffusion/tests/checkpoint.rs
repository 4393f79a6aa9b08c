//! Single-file checkpoints: names and shapes against those of the published models, values there and back.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::{Result, Tensor};
use rpo_diffusion::checkpoint::{
    Change, Family, Names, Place, family, model_spec, to_file, to_folders,
};
use rpo_diffusion::{PredictionType, UNetConfig, VaeConfig};
use rpo_encoders::folder;
use rpo_nn::weights::{Archive, Item, Precision, pt, write};
use tempfile::TempDir;

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// A line of the golden list: a tensor of a file and where it comes from.
struct Row {
    file: String,
    file_shape: Vec<usize>,
    folder: Vec<String>,
    folder_shape: Vec<usize>,
}

/// Of `scripts/golden/checkpoints.py`, part by part.
fn golden() -> BTreeMap<String, Vec<Row>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoint_names.tsv.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    let shape = |text: &str| text.split(',').map(|n| n.parse().unwrap()).collect();
    let mut parts: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        parts.entry(fields[0].into()).or_default().push(Row {
            file: fields[1].into(),
            file_shape: shape(fields[2]),
            folder: fields[3].split(',').map(String::from).collect(),
            folder_shape: shape(fields[4]),
        });
    }
    parts
}

fn unet(preset: &str) -> UNetConfig {
    UNetConfig::load(&workspace(&format!(
        "experiments/presets/{preset}.unet.json"
    )))
    .unwrap()
}

fn vae() -> VaeConfig {
    let text = r#"{"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"]}"#;
    VaeConfig::from_json(text, "vae").unwrap()
}

/// The names of the published models, with the golden lists of their parts.
fn published() -> [(Names, [&'static str; 4]); 3] {
    [
        (
            Names::new(Family::Sd1, &unet("sd15"), &vae(), 12),
            ["sd1/unet", "vae", "sd1/text_encoder", ""],
        ),
        (
            Names::new(Family::Sd2, &unet("sd21"), &vae(), 23),
            ["sd2/unet", "vae", "sd2/text_encoder", ""],
        ),
        (
            Names::new(Family::Sdxl, &unet("sdxl"), &vae(), 32),
            [
                "sdxl/unet",
                "vae",
                "sd1/text_encoder",
                "sdxl/text_encoder_2",
            ],
        ),
    ]
}

/// A tensor whose values nobody asks for.
fn hollow(name: &str, shape: &[usize]) -> Item<'static> {
    Item::new(name, shape, || candle_core::bail!("values are not read"))
}

fn named(items: &[Item]) -> BTreeMap<String, Vec<usize>> {
    let map: BTreeMap<_, _> = items
        .iter()
        .map(|i| (i.name.clone(), i.shape.clone()))
        .collect();
    assert_eq!(map.len(), items.len(), "no name twice");
    map
}

#[test]
fn every_tensor_of_the_published_models_has_its_place_both_ways() {
    let golden = golden();
    for (names, lists) in published() {
        for ((part, map), list) in names.parts.iter().zip(lists) {
            let rows = &golden[list];
            let prefixed = |row: &Row| format!("{}{}", map.prefix(), row.file);
            for row in rows {
                for (i, name) in row.folder.iter().enumerate() {
                    let bare = name.strip_prefix("text_model.").unwrap_or(name);
                    for name in [name.as_str(), bare] {
                        let file = match map.place(name) {
                            Some(Place::Whole(file, change)) => {
                                let kernel = row.file_shape != row.folder_shape;
                                let want = match row.file.as_str() {
                                    "text_projection" => Change::Transpose,
                                    _ if kernel => Change::Kernel,
                                    _ => Change::None,
                                };
                                assert_eq!(change, want, "{list} {name}");
                                file
                            }
                            Some(Place::Third(file, third)) => {
                                assert_eq!((third, row.folder.len()), (i, 3), "{list} {name}");
                                file
                            }
                            None => panic!("{list}: {name} has no place"),
                        };
                        assert_eq!(file, prefixed(row), "{list} {name}");
                    }
                }
                let (origin, _) = map
                    .origin(&prefixed(row))
                    .unwrap_or_else(|| panic!("{list}: {} has no origin", row.file));
                assert_eq!(origin, row.folder, "{list} {}", row.file);
            }
            // As a whole, with shapes.
            let folder: Vec<(&str, &[usize])> = rows
                .iter()
                .flat_map(|row| {
                    row.folder
                        .iter()
                        .map(|n| (n.as_str(), row.folder_shape.as_slice()))
                })
                .collect();
            let items = folder
                .iter()
                .map(|(name, shape)| hollow(name, shape))
                .collect();
            let file = map.to_file(items, part).unwrap();
            let want: BTreeMap<_, _> = rows
                .iter()
                .map(|row| (prefixed(row), row.file_shape.clone()))
                .collect();
            assert_eq!(named(&file), want, "{list}");
            let mut rest = vec![hollow("other", &[1])];
            let back = map.to_folder(file, &mut rest, part).unwrap();
            assert_eq!(rest.len(), 1);
            let want: BTreeMap<_, _> = folder
                .iter()
                .map(|(n, s)| ((*n).to_owned(), s.to_vec()))
                .collect();
            assert_eq!(named(&back), want, "{list}");
        }
    }
    assert_eq!(golden["sd1/unet"].len(), 686);
    assert_eq!(golden["sdxl/unet"].len(), 1680);
}

#[test]
fn parts_do_not_take_each_others_tensors() {
    for (names, lists) in published() {
        let golden = golden();
        let mut seen = BTreeSet::new();
        for ((_, map), list) in names.parts.iter().zip(lists) {
            for row in &golden[list] {
                let file = format!("{}{}", map.prefix(), row.file);
                let owners = names
                    .parts
                    .iter()
                    .filter(|(_, map)| map.origin(&file).is_some());
                assert_eq!(owners.count(), 1, "{file}");
                assert!(seen.insert(file));
            }
        }
    }
}

/// Names that the published files have besides.
#[test]
fn what_a_file_has_besides_is_passed_over_or_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let (model, names) = micro(Family::Sd2);
    let with = |extra: &[&str]| -> Result<Vec<String>> {
        let mut items = to_file(&names, parts(&model))?;
        items.extend(
            extra
                .iter()
                .map(|name| Item::new(*name, [2], || Ok(vec![1.0, 2.0]))),
        );
        let path = dir.path().join("file.safetensors");
        write(&path, &items, Precision::F32, &pt())?;
        let archive = Archive::open(&path)?;
        Ok(to_folders(&names, &archive)?.passed_over)
    };
    let besides = [
        "alphas_cumprod",
        "betas",
        "cond_stage_model.model.logit_scale",
        "cond_stage_model.model.text_projection",
        // The folder's encoder has three layers.
        "cond_stage_model.model.transformer.resblocks.3.attn.in_proj_weight",
        "first_stage_model.loss.logvar",
        "model_ema.diffusion_modelinput_blocks00weight",
        "sqrt_alphas_cumprod",
    ];
    assert_eq!(with(&besides).unwrap(), besides);
    for (name, part) in [
        (
            "model.diffusion_model.input_blocks.99.0.in_layers.0.weight",
            "unet",
        ),
        (
            "first_stage_model.encoder.down.9.block.0.norm1.weight",
            "vae",
        ),
        ("cond_stage_model.model.surprise", "text_encoder"),
        ("control_model.zero_convs.0.0.weight", "no part"),
    ] {
        let message = with(&[name]).unwrap_err().to_string();
        assert!(
            message.contains(name)
                && message.contains(part)
                && message.contains("file.safetensors"),
            "{message}"
        );
    }
}

/// The embedded model's parts, as one of another family has them: their tensors are what matters, not what they draw.
fn micro(family: Family) -> (Vec<(&'static str, Archive)>, Names) {
    let dir = workspace("assets/micro");
    let mut model: Vec<(&'static str, Archive)> = ["unet", "vae", "text_encoder"]
        .map(|part| (part, folder::open_archive(&dir.join(part), None).unwrap()))
        .into();
    if family == Family::Sdxl {
        model.push((
            "text_encoder_2",
            folder::open_archive(&dir.join("text_encoder"), None).unwrap(),
        ));
    }
    let unet = UNetConfig::load(&dir.join("unet/config.json")).unwrap();
    let vae = VaeConfig::load(&dir.join("vae/config.json")).unwrap();
    let layers = rpo_encoders::clip::ClipTextConfig::load(&dir.join("text_encoder"))
        .unwrap()
        .num_hidden_layers;
    (model, Names::new(family, &unet, &vae, layers))
}

fn parts<'a>(model: &'a [(&'static str, Archive)]) -> Vec<(&'static str, Vec<Item<'a>>)> {
    let projection = || {
        Item::new("text_projection.weight", [2, 3], || {
            Ok(vec![1., 2., 3., 4., 5., 6.])
        })
    };
    let items = |part: &str, archive: &'a Archive| {
        let mut items = archive.items();
        items.extend((part == "text_encoder_2").then(projection));
        items
    };
    model
        .iter()
        .map(|(part, archive)| (*part, items(part, archive)))
        .collect()
}

#[test]
fn a_model_goes_into_a_file_and_comes_back_bit_for_bit() {
    let dir = TempDir::new().unwrap();
    for kind in [Family::Sd1, Family::Sd2, Family::Sdxl] {
        let (model, names) = micro(kind);
        let path = dir.path().join("model.safetensors");
        write(
            &path,
            &to_file(&names, parts(&model)).unwrap(),
            Precision::F32,
            &pt(),
        )
        .unwrap();
        let archive = Archive::open(&path).unwrap();
        assert_eq!(family(&archive).unwrap(), kind);
        let back = to_folders(&names, &archive).unwrap();
        assert!(back.passed_over.is_empty());
        for ((part, want), (name, got)) in parts(&model).iter().zip(&back.parts) {
            assert_eq!(part, name);
            let value = |items: &[Item]| -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
                let bare = |name: &str| name.strip_prefix("text_model.").unwrap_or(name).to_owned();
                items
                    .iter()
                    .map(|i| (bare(&i.name), (i.shape.clone(), i.values().unwrap())))
                    .collect()
            };
            assert!(value(want) == value(got), "{kind:?} {part}");
        }
    }
}

#[test]
fn fused_rows_transposed_projection_and_kernels() {
    let names = Names::new(Family::Sdxl, &unet("sdxl"), &vae(), 1);
    let map = |part: &str| {
        &names
            .parts
            .iter()
            .find(|(name, _)| *name == part)
            .unwrap()
            .1
    };
    let matrix = |name: &str, from: f32| {
        Item::new(name, [2, 2], move || {
            Ok((0..4).map(|i| from + i as f32).collect())
        })
    };
    let attention = "text_model.encoder.layers.0.self_attn";
    let of = |order: [&str; 3]| {
        let start = |m: &str| ["q", "k", "v"].iter().position(|n| *n == m).unwrap() as f32 * 10.0;
        let items = order.map(|m| matrix(&format!("{attention}.{m}_proj.weight"), start(m)));
        map("text_encoder_2").to_file(items.into(), "dir").unwrap()
    };
    // Query, key, value, whatever the order they come in.
    for order in [["q", "k", "v"], ["v", "q", "k"]] {
        let fused = of(order);
        assert_eq!(fused.len(), 1);
        assert_eq!(
            fused[0].name,
            "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight"
        );
        assert_eq!(fused[0].shape, [6, 2]);
        assert_eq!(
            fused[0].values().unwrap(),
            [0., 1., 2., 3., 10., 11., 12., 13., 20., 21., 22., 23.]
        );
    }
    let back = map("text_encoder_2")
        .to_folder(of(["q", "k", "v"]), &mut vec![], "file")
        .unwrap();
    assert_eq!(back[1].name, format!("{attention}.k_proj.weight"));
    assert_eq!(
        (back[1].shape.as_slice(), back[1].values().unwrap()),
        (&[2, 2][..], vec![10., 11., 12., 13.])
    );
    let missing = vec![matrix(&format!("{attention}.q_proj.weight"), 0.0)];
    let message = map("text_encoder_2")
        .to_file(missing, "dir")
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("dir") && message.contains("in_proj_weight"),
        "{message}"
    );

    let wide = || {
        Item::new("text_projection.weight", [2, 3], || {
            Ok(vec![1., 2., 3., 4., 5., 6.])
        })
    };
    let turned = map("text_encoder_2").to_file(vec![wide()], "dir").unwrap();
    assert_eq!(
        turned[0].name,
        "conditioner.embedders.1.model.text_projection"
    );
    assert_eq!(
        (turned[0].shape.as_slice(), turned[0].values().unwrap()),
        (&[3, 2][..], vec![1., 4., 2., 5., 3., 6.])
    );
    let back = map("text_encoder_2")
        .to_folder(turned, &mut vec![], "file")
        .unwrap();
    assert_eq!(
        (back[0].shape.as_slice(), back[0].values().unwrap()),
        (&[2, 3][..], wide().values().unwrap())
    );

    // Both names that folders have had, and a matrix that is a kernel already.
    let to_q = "encoder.mid_block.attentions.0.to_q.weight";
    for (name, shape) in [
        (to_q, vec![2, 2]),
        ("encoder.mid_block.attentions.0.query.weight", vec![2, 2]),
        (to_q, vec![2, 2, 1, 1]),
    ] {
        let file = map("vae")
            .to_file(vec![hollow(name, &shape)], "dir")
            .unwrap();
        assert_eq!(
            file[0].name,
            "first_stage_model.encoder.mid.attn_1.q.weight"
        );
        assert_eq!(file[0].shape, [2, 2, 1, 1]);
        let back = map("vae").to_folder(file, &mut vec![], "file").unwrap();
        assert_eq!(
            (back[0].name.as_str(), back[0].shape.as_slice()),
            (to_q, &[2, 2][..])
        );
    }
    let message = map("unet")
        .to_file(vec![hollow("surprise.weight", &[1])], "dir")
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("dir") && message.contains("surprise.weight"),
        "{message}"
    );
}

#[test]
fn files_of_another_kind_are_recognised() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file.safetensors");
    let refusal = |tensors: &[(&str, &[usize])]| {
        let zeros = |shape: &[usize]| {
            Tensor::zeros(shape, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap()
        };
        let map = tensors
            .iter()
            .map(|(name, shape)| ((*name).to_owned(), zeros(shape)))
            .collect();
        candle_core::safetensors::save(&map, &path).unwrap();
        let message = family(&Archive::open(&path).unwrap())
            .unwrap_err()
            .to_string();
        assert!(message.contains("file.safetensors"), "{message}");
        message
    };
    let input = "model.diffusion_model.input_blocks.0.0.weight";
    assert!(refusal(&[("lora_unet_down_blocks_0.lora_down.weight", &[1])]).contains("LoRA"));
    assert!(
        refusal(&[("down_blocks.0.resnets.0.conv1.weight", &[1])]).contains("diffusers folder")
    );
    assert!(
        refusal(&[("double_blocks.0.img_attn.qkv.weight", &[1])]).contains("model.diffusion_model")
    );
    assert!(
        refusal(&[
            (input, &[8, 9, 3, 3]),
            ("cond_stage_model.transformer.x", &[1])
        ])
        .contains("inpainting")
    );
    assert!(
        refusal(&[
            (input, &[8, 4, 3, 3]),
            ("conditioner.embedders.0.model.x", &[1])
        ])
        .contains("refiner")
    );
    assert!(refusal(&[(input, &[8, 4, 3, 3])]).contains("no text encoder"));
}

#[test]
fn model_spec_names_the_architecture() {
    let spec = |family, prediction| model_spec(family, prediction, 768, "my dog");
    let spec_of_2 = spec(Family::Sd2, PredictionType::VPrediction);
    assert_eq!(
        spec_of_2["modelspec.architecture"],
        "stable-diffusion-v2-768-v"
    );
    assert_eq!(spec_of_2["modelspec.prediction_type"], "v");
    assert_eq!(spec_of_2["modelspec.resolution"], "768x768");
    assert_eq!(spec_of_2["modelspec.title"], "my dog");
    let architecture =
        |family| spec(family, PredictionType::Epsilon)["modelspec.architecture"].clone();
    assert_eq!(architecture(Family::Sd1), "stable-diffusion-v1");
    assert_eq!(architecture(Family::Sdxl), "stable-diffusion-xl-v1-base");
}
