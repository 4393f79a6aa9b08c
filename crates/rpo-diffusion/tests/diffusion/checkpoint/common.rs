//! Golden names, the published models' configurations, and the embedded model as one of another family.

use rpo_diffusion::checkpoint::{Family, Names};
use rpo_diffusion::{UNetConfig, VaeConfig};
use rpo_encoders::folder;
use rpo_nn::weights::{Archive, Item};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

pub(crate) fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// A line of the golden list: a tensor of a file and where it comes from.
pub(crate) struct Row {
    pub(crate) file: String,
    pub(crate) file_shape: Vec<usize>,
    pub(crate) folder: Vec<String>,
    pub(crate) folder_shape: Vec<usize>,
}

/// Of `scripts/golden/checkpoints.py`, part by part.
pub(crate) fn golden() -> BTreeMap<String, Vec<Row>> {
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

pub(crate) fn unet(preset: &str) -> UNetConfig {
    UNetConfig::load(&workspace(&format!(
        "experiments/presets/{preset}.unet.json"
    )))
    .unwrap()
}

pub(crate) fn vae() -> VaeConfig {
    let text = r#"{"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"]}"#;
    VaeConfig::from_json(text, "vae").unwrap()
}

/// The names of the published models, with the golden lists of their parts.
pub(crate) fn published() -> [(Names, [&'static str; 4]); 3] {
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

/// A tensor whose values do not matter.
pub(crate) fn hollow(name: &str, shape: &[usize]) -> Item<'static> {
    Item::new(name, shape, || candle_core::bail!("values are not read"))
}

pub(crate) fn named(items: &[Item]) -> BTreeMap<String, Vec<usize>> {
    let map: BTreeMap<_, _> = items
        .iter()
        .map(|i| (i.name.clone(), i.shape.clone()))
        .collect();
    assert_eq!(map.len(), items.len(), "no name twice");
    map
}

/// The embedded model's parts in the form of another family: only the tensors matter, not the pictures.
pub(crate) fn micro(family: Family) -> (Vec<(&'static str, Archive)>, Names) {
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

pub(crate) fn parts<'a>(
    model: &'a [(&'static str, Archive)],
) -> Vec<(&'static str, Vec<Item<'a>>)> {
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
