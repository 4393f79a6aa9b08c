//! Files of learned words: diffusers' `learned_embeds.safetensors`, and the safetensors embeddings of A1111 and ComfyUI.
//!
//! | tensors | whose | read by |
//! |---|---|---|
//! | `<token>` `[n, D]` or `[D]` | diffusers, Stable Diffusion 1.x and 2.x | diffusers' `load_textual_inversion`, A1111, ComfyUI |
//! | `clip_l` `[n, 768]`, `clip_g` `[n, 1280]` | SDXL | A1111, ComfyUI; diffusers, one call for each encoder |
//! | `emb_params` `[n, D]` | other trainers, 1.x and 2.x | A1111, ComfyUI |
//! | `bundle_emb.<token>.` and `clip_l`, `clip_g`, `emb_params` or `string_to_param.*` | LoRA files of OneTrainer and A1111 | these |
//!
//! Those of the second and third do not hold the token: programs take the name of the file, and so does [`read`], unless its metadata has
//! one.

use crate::texts::Word;
use candle_core::{Device, Result, Tensor, bail};
use rpo_files::printable::printable_name;
use rpo_nn::weights::{Archive, Item, Precision, pt, to_bytes as bytes_of};
use std::collections::BTreeMap;
use std::path::Path;

/// Its name, as diffusers' script writes it.
pub const FILE: &str = "learned_embeds.safetensors";

/// The tensors of SDXL's two encoders.
const OF_SDXL: [&str; 2] = ["clip_l", "clip_g"];

/// The tensor of other trainers.
const OF_OTHERS: &str = "emb_params";

/// The metadata that names the token.
const TOKEN: &str = "rpo.token";

/// Before a token in a LoRA file.
pub(crate) const BUNDLED: &str = "bundle_emb.";

/// The bytes of a file with a word's vectors, in f32.
///
/// # Errors
/// If a value is not finite, or the word has vectors for more than two encoders.
pub fn to_bytes(word: &Word) -> Result<Vec<u8>> {
    let names: &[&str] = match word.rows.len() {
        1 => &[&word.token],
        2 => &OF_SDXL,
        n => bail!("the word {:?} has vectors for {n} encoders", word.token),
    };
    let mut items = Vec::new();
    for (name, rows) in names.iter().zip(&word.rows) {
        let values = rows.flatten_all()?.to_vec1::<f32>()?;
        items.push(Item::new(*name, rows.dims().to_vec(), move || {
            Ok(values.clone())
        }));
    }
    let mut metadata = pt();
    metadata.insert(TOKEN.to_owned(), word.token.clone());
    bytes_of(&items, Precision::F32, &metadata)
}

/// The words of a file; of a LoRA file those that are bundled with it.
///
/// # Errors
/// If it cannot be read, holds no vectors, or vectors of other forms; with file and tensor.
pub fn read(path: &Path) -> Result<Vec<Word>> {
    let shown = path.display();
    if path.extension().is_some_and(|e| e == "pt" || e == "bin") {
        bail!(
            "{shown}: a pickle can run any program when it is read, so it is not\n  hint: python -c \"import torch; from safetensors.torch import save_file; d = torch.load('IN.pt', weights_only=True); save_file({{'emb_params': d['string_to_param']['*'].detach()}}, 'OUT.safetensors')\""
        );
    }
    let file = Archive::open(path)?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy());
    let token = match file.metadata().get(TOKEN) {
        Some(token) => token.clone(),
        None => stem.unwrap_or_default().into_owned(),
    };
    let names: Vec<&str> = file.names().collect();
    let rows = |name: &str| rows(&file, name, path);
    if OF_SDXL.iter().all(|name| names.contains(name)) && names.len() == 2 {
        let rows = OF_SDXL.map(rows).into_iter().collect::<Result<_>>()?;
        return Ok(vec![Word { token, rows }]);
    }
    if names == [OF_OTHERS] {
        let rows = vec![rows(OF_OTHERS)?];
        return Ok(vec![Word { token, rows }]);
    }
    if names.is_empty() {
        bail!("{shown}: a file without tensors");
    }
    if names.iter().any(|name| name.starts_with(BUNDLED)) {
        return bundled(&file, path);
    }
    let word = |name: &&str| {
        Ok(Word {
            token: (*name).to_owned(),
            rows: vec![rows(name)?],
        })
    };
    names.iter().map(word).collect()
}

/// The words that are bundled with a LoRA.
fn bundled(file: &Archive, path: &Path) -> Result<Vec<Word>> {
    let mut tokens = BTreeMap::<&str, BTreeMap<&str, &str>>::new();
    for name in file.names() {
        if let Some((token, part)) = bundled_token(name) {
            tokens.entry(token).or_default().insert(part, name);
        }
    }
    let word = |(token, parts): (&str, BTreeMap<&str, &str>)| {
        let names: Vec<&str> = match OF_SDXL.map(|part| parts.get(part)) {
            [Some(first), Some(second)] if parts.len() == 2 => vec![first, second],
            _ if parts.len() == 1 => parts.into_values().collect(),
            _ => bail!(
                "{}: {} has {} tensors; a bundled embedding has one, or clip_l and clip_g",
                path.display(),
                printable_name(token),
                parts.len()
            ),
        };
        let rows = names.into_iter().map(|name| rows(file, name, path));
        Ok(Word {
            token: token.to_owned(),
            rows: rows.collect::<Result<_>>()?,
        })
    };
    tokens.into_iter().map(word).collect()
}

/// The token of a key that bundles an embedding with a LoRA, and what the key is of it: `my.dog`, `clip_l`.
pub(crate) fn bundled_token(key: &str) -> Option<(&str, &str)> {
    let rest = key.strip_prefix(BUNDLED)?;
    let pickled = rest.strip_suffix(".string_to_param.*");
    let pickled = pickled.map(|token| (token, "string_to_param.*"));
    Some(pickled.or(rest.rsplit_once('.')).unwrap_or((rest, "")))
}

/// The vectors of one tensor, `[n, D]`.
fn rows(file: &Archive, name: &str, path: &Path) -> Result<Tensor> {
    let shape = file.shape(name).unwrap_or_default();
    let (n, width) = match *shape {
        [width] if width > 0 => (1, width),
        // Each vector takes a token of the text.
        [n, width] if n > 0 && n <= 77 && width > 0 => (n, width),
        _ => bail!(
            "{}: tensor {} has shape {shape:?}; vectors of a word are [n, D] or [D]\n  hint: is it an embedding of textual inversion?",
            path.display(),
            printable_name(name)
        ),
    };
    Tensor::from_vec(file.values(name)?, (n, width), &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpo_nn::weights::to_bytes as bytes_of;

    fn values(n: usize, width: usize) -> Tensor {
        let values: Vec<f32> = (0..n * width).map(|i| i as f32 * 0.25 - 1.0).collect();
        Tensor::from_vec(values, (n, width), &Device::Cpu).unwrap()
    }

    fn own(t: &Tensor) -> Vec<Vec<f32>> {
        t.to_vec2().unwrap()
    }

    #[test]
    fn words_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        for rows in [
            vec![values(1, 4)],
            vec![values(3, 4)],
            vec![values(2, 4), values(2, 6)],
        ] {
            let word = Word {
                token: "<my-toy>".to_owned(),
                rows,
            };
            let path = folder.path().join(FILE);
            std::fs::write(&path, to_bytes(&word).unwrap()).unwrap();
            let read = read(&path).unwrap();
            assert_eq!(read.len(), 1);
            assert_eq!(read[0].token, word.token);
            assert_eq!(read[0].rows.len(), word.rows.len());
            for (a, b) in read[0].rows.iter().zip(&word.rows) {
                assert_eq!(own(a), own(b));
            }
        }
    }

    #[test]
    fn files_of_other_programs_are_named_after_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, tensors: &[(&str, Vec<usize>)]| {
            let items: Vec<Item> = tensors
                .iter()
                .map(|(name, shape)| {
                    let n = shape.iter().product();
                    Item::new(*name, shape.clone(), move || Ok(vec![0.5; n]))
                })
                .collect();
            let path = folder.path().join(file);
            std::fs::write(&path, bytes_of(&items, Precision::F16, &pt()).unwrap()).unwrap();
            read(&path)
        };
        let one = write("corgi.safetensors", &[("emb_params", vec![2, 4])]).unwrap();
        assert_eq!(
            (one[0].token.as_str(), one[0].names()),
            ("corgi", vec!["corgi".to_owned(), "corgi_1".to_owned()])
        );
        let flat = write("x.safetensors", &[("<a>", vec![4]), ("<b>", vec![4])]).unwrap();
        assert_eq!([&flat[0].token, &flat[1].token], ["<a>", "<b>"]);
        assert_eq!(flat[0].rows[0].dims(), [1, 4]);
        let xl = write(
            "toy.safetensors",
            &[("clip_g", vec![1, 6]), ("clip_l", vec![1, 4])],
        )
        .unwrap();
        assert_eq!(xl[0].token, "toy");
        assert_eq!(xl[0].rows[0].dims(), [1, 4]);
        let lora = "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight";
        let bundle = [
            (lora, vec![2, 3, 4]),
            ("bundle_emb.my.dog.clip_g", vec![1, 6]),
            ("bundle_emb.my.dog.clip_l", vec![1, 4]),
            ("bundle_emb.cat.string_to_param.*", vec![2, 4]),
            ("bundle_emb.owl.emb_params", vec![4]),
        ];
        let words = write("bundle.safetensors", &bundle).unwrap();
        let shapes = words.iter().map(|word| {
            let rows = word.rows.iter().map(|rows| rows.dims().to_vec());
            (word.token.as_str(), rows.collect::<Vec<_>>())
        });
        assert_eq!(
            shapes.collect::<Vec<_>>(),
            [
                ("cat", vec![vec![2, 4]]),
                ("my.dog", vec![vec![1, 4], vec![1, 6]]),
                ("owl", vec![vec![1, 4]])
            ]
        );
        let two = [
            ("bundle_emb.owl.emb_params", vec![4]),
            ("bundle_emb.owl.clip_l", vec![4]),
        ];
        let told = write("two.safetensors", &two).unwrap_err().to_string();
        assert!(told.contains("owl has 2 tensors"), "{told}");
        let refused = write("x.safetensors", &[("w", vec![2, 3, 4])]);
        let told = refused.unwrap_err().to_string();
        assert!(
            told.contains("x.safetensors") && told.contains("[2, 3, 4]"),
            "{told}"
        );
        let pickle = read(Path::new("a.pt")).unwrap_err().to_string();
        assert!(pickle.contains("weights_only"), "{pickle}");
    }
}
