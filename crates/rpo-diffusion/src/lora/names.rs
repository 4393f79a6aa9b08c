//! Names of modules: diffusers' with dots, kohya's with underscores, and for SDXL the numbering of the released checkpoint.
//!
//! kohya's names lose the dots, so the inverse needs the list of words that contain an underscore. The names of all adaptable
//! modules of the Stable Diffusion U-Nets consist of these words and of words without underscores.

use candle_core::{Result, bail};

/// Prefix of every U-Net key in a kohya file.
const KOHYA: &str = "lora_unet_";

/// Words with underscores, longer ones first where one is a prefix of another.
const WORDS: [&str; 27] = [
    "transformer_blocks",
    "skip_connection",
    "time_embedding",
    "add_embedding",
    "output_blocks",
    "time_emb_proj",
    "conv_shortcut",
    "middle_block",
    "input_blocks",
    "down_blocks",
    "out_layers",
    "emb_layers",
    "time_embed",
    "in_layers",
    "label_emb",
    "mid_block",
    "up_blocks",
    "proj_out",
    "linear_1",
    "linear_2",
    "conv_out",
    "proj_in",
    "conv_in",
    "to_out",
    "to_q",
    "to_k",
    "to_v",
];

/// Modules outside the blocks: diffusers' name and that of the released SDXL checkpoint.
const OUTSIDE: [(&str, &str); 6] = [
    ("conv_in", "input_blocks.0.0"),
    ("conv_out", "out.2"),
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
];

/// Layers of a ResNet block, likewise.
const RESNET: [(&str, &str); 4] = [
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
];

/// How the modules of a kohya file are named and numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// `lora_unet_down_blocks_0_attentions_0_…`: SD 1.x and 2.x.
    Diffusers,
    /// `lora_unet_input_blocks_4_1_…`: SDXL, whose U-Net sd-scripts builds as the released checkpoint does.
    Checkpoint {
        /// ResNet blocks per down block: 2 in SDXL.
        layers_per_block: usize,
    },
}

/// The key in a kohya file of the diffusers module `name`, without `.lora_down.weight` and the like.
///
/// # Errors
/// If the checkpoint has no such module.
pub fn to_kohya(name: &str, numbering: Numbering) -> Result<String> {
    let name = match numbering {
        Numbering::Diffusers => name.to_owned(),
        Numbering::Checkpoint { layers_per_block } => match to_checkpoint(name, layers_per_block) {
            Some(name) => name,
            None => bail!("{name}: no module of SDXL's U-Net, so a kohya file has no key for it"),
        },
    };
    Ok(format!("{KOHYA}{}", name.replace('.', "_")))
}

/// The diffusers module of a kohya key in either numbering: the inverse of [`to_kohya`].
/// `layers_per_block` is used for the checkpoint's numbering only.
///
/// # Errors
/// If it is not a key of a U-Net or its block does not exist.
pub fn from_kohya(key: &str, layers_per_block: usize) -> Result<String> {
    let Some(flat) = key.strip_prefix(KOHYA) else {
        bail!("{key}: a U-Net's key in a kohya file starts with {KOHYA}")
    };
    match diffusers_name(flat_name(flat), layers_per_block) {
        Some(name) => Ok(name),
        None => bail!("{key}: no module of SDXL's U-Net with {layers_per_block} layers a block"),
    }
}

/// diffusers' name of a module that is named as diffusers or as the released checkpoints name it; `None` if their numbering has no
/// such block. Names of neither are returned as they are.
pub(super) fn diffusers_name(name: String, layers_per_block: usize) -> Option<String> {
    let start = name.split('.').next().unwrap_or_default();
    let checkpoint = [
        "input_blocks",
        "middle_block",
        "output_blocks",
        "time_embed",
        "label_emb",
        "out",
    ];
    if checkpoint.contains(&start) {
        from_checkpoint(&name, layers_per_block)
    } else {
        Some(name)
    }
}

/// Underscores to dots, except inside words with underscores.
pub(super) fn flat_name(flat: &str) -> String {
    let mut out = String::new();
    let mut rest = flat;
    while !rest.is_empty() {
        let ends = |word: &&&str| {
            rest.strip_prefix(**word)
                .is_some_and(|after| after.is_empty() || after.starts_with('_'))
        };
        let word = match WORDS.iter().find(ends) {
            Some(word) => word,
            None => rest.split('_').next().unwrap_or(rest),
        };
        out += word;
        rest = &rest[word.len()..];
        if let Some(after) = rest.strip_prefix('_') {
            out.push('.');
            rest = after;
        }
    }
    out
}

fn to_checkpoint(name: &str, layers: usize) -> Option<String> {
    if let Some((_, place)) = OUTSIDE.iter().find(|(n, _)| *n == name) {
        return Some((*place).to_owned());
    }
    let (block, rest) = name.split_once('.')?;
    let step = layers + 1;
    if block == "mid_block" {
        let (kind, j, layer) = numbered(rest)?;
        return match (kind, j) {
            ("resnets", 0 | 1) => Some(format!("middle_block.{}.{}", 2 * j, to_resnet(layer)?)),
            ("attentions", 0) => Some(format!("middle_block.1.{layer}")),
            _ => None,
        };
    }
    let (i, rest) = rest.split_once('.')?;
    let i: usize = i.parse().ok()?;
    let (kind, j, layer) = numbered(rest)?;
    match (block, kind) {
        ("down_blocks", "resnets") if j < layers => Some(format!(
            "input_blocks.{}.0.{}",
            1 + i * step + j,
            to_resnet(layer)?
        )),
        ("down_blocks", "attentions") if j < layers => {
            Some(format!("input_blocks.{}.1.{layer}", 1 + i * step + j))
        }
        ("down_blocks", "downsamplers") if j == 0 && layer == "conv" => {
            Some(format!("input_blocks.{}.0.op", (i + 1) * step))
        }
        ("up_blocks", "resnets") if j < step => Some(format!(
            "output_blocks.{}.0.{}",
            i * step + j,
            to_resnet(layer)?
        )),
        ("up_blocks", "attentions") if j < step => {
            Some(format!("output_blocks.{}.1.{layer}", i * step + j))
        }
        // After the attention, which every block of SDXL with an upsampler has.
        ("up_blocks", "upsamplers") if j == 0 && layer == "conv" => {
            Some(format!("output_blocks.{}.2.conv", i * step + layers))
        }
        _ => None,
    }
}

fn from_checkpoint(name: &str, layers: usize) -> Option<String> {
    if let Some((n, _)) = OUTSIDE.iter().find(|(_, place)| *place == name) {
        return Some((*n).to_owned());
    }
    let (side, n, rest) = numbered(name)?;
    let step = layers + 1;
    if side == "middle_block" {
        return match n {
            0 | 2 => Some(format!(
                "mid_block.resnets.{}.{}",
                n / 2,
                from_resnet(rest)?
            )),
            1 => Some(format!("mid_block.attentions.0.{rest}")),
            _ => None,
        };
    }
    let (part, layer) = rest.split_once('.')?;
    match (side, part) {
        ("input_blocks", "0") if layer == "op" && n > 0 && n % step == 0 => {
            Some(format!("down_blocks.{}.downsamplers.0.conv", n / step - 1))
        }
        ("input_blocks", "0" | "1") if n > 0 && n % step != 0 => {
            let (i, j) = ((n - 1) / step, (n - 1) % step);
            Some(if part == "0" {
                format!("down_blocks.{i}.resnets.{j}.{}", from_resnet(layer)?)
            } else {
                format!("down_blocks.{i}.attentions.{j}.{layer}")
            })
        }
        ("output_blocks", "0") => Some(format!(
            "up_blocks.{}.resnets.{}.{}",
            n / step,
            n % step,
            from_resnet(layer)?
        )),
        // Behind the attention, or where a block of SD 1.x and 2.x has none, in its place.
        ("output_blocks", "1" | "2") if layer == "conv" => {
            (n % step == layers).then(|| format!("up_blocks.{}.upsamplers.0.conv", n / step))
        }
        ("output_blocks", "1") => Some(format!(
            "up_blocks.{}.attentions.{}.{layer}",
            n / step,
            n % step
        )),
        _ => None,
    }
}

/// `kind.7.rest`
fn numbered(name: &str) -> Option<(&str, usize, &str)> {
    let (kind, rest) = name.split_once('.')?;
    let (n, rest) = rest.split_once('.')?;
    Some((kind, n.parse().ok()?, rest))
}

fn to_resnet(layer: &str) -> Option<&'static str> {
    RESNET
        .iter()
        .find(|(n, _)| *n == layer)
        .map(|(_, place)| *place)
}

fn from_resnet(place: &str) -> Option<&'static str> {
    RESNET.iter().find(|(_, p)| *p == place).map(|(n, _)| *n)
}
