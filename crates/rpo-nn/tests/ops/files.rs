//! safetensors files: writing, and reading of shards.

use candle_core::{Device, Result, Tensor};
use rpo_nn::weights::{Archive, Item, Params, Precision, pt, write, write_sharded};
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i as f32 - 7.3) * 1.37).collect()
}

fn item(name: &str, shape: &[usize]) -> Item<'static> {
    let n = shape.iter().product();
    Item::new(name, shape, move || Ok(values(n)))
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_written_is_what_the_safetensors_crate_reads() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.safetensors");
    let metadata = BTreeMap::from([
        ("format".to_owned(), "pt".to_owned()),
        ("note \"quoted\"\n".to_owned(), "λ = 0.5 \\ é".to_owned()),
    ]);
    let items = [
        item("b.weight", &[3, 5]),
        item("a \"odd\" name", &[]),
        item("empty", &[0, 4]),
    ];
    write(&path, &items, Precision::F32, &metadata).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(header % 8, 0, "tensors begin at a multiple of 8 bytes");
    let (_, read) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let read: BTreeMap<_, _> = read.metadata().clone().unwrap().into_iter().collect();
    assert_eq!(read, metadata);
    let tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    assert_eq!(tensors.len(), 3);
    assert_eq!(
        tensors["b.weight"].to_vec2::<f32>().unwrap().concat(),
        values(15)
    );
    assert_eq!(
        tensors["a \"odd\" name"].to_scalar::<f32>().unwrap(),
        values(1)[0]
    );
    assert_eq!(tensors["empty"].dims(), [0, 4]);

    let archive = Archive::open(&path).unwrap();
    assert_eq!(archive.metadata(), &metadata);
    assert_eq!(archive.shape("b.weight"), Some(&[3, 5][..]));
    assert_eq!(archive.values("b.weight").unwrap(), values(15));
    assert!(
        archive
            .values("c")
            .unwrap_err()
            .to_string()
            .contains("tensor c is missing")
    );

    // Another order of the items gives the same bytes.
    let [b, odd, empty] = items;
    write(&path, &[empty, b, odd], Precision::F32, &metadata).unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
}

#[test]
fn half_types_are_rounded_to_the_nearest() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("h.safetensors");
    // 2^-24 is f16's smallest; 1 + 2^-9 lies between two bf16.
    let special = [
        0.0,
        -0.0,
        1.0 + 2f32.powi(-9),
        2f32.powi(-24),
        -65519.0,
        65504.0,
        -1e-30,
        0.1,
    ];
    let want = |precision, v: f32| match precision {
        Precision::F16 => half::f16::from_f32(v).to_f32(),
        Precision::Bf16 => half::bf16::from_f32(v).to_f32(),
        Precision::F32 => v,
    };
    for precision in [Precision::F16, Precision::Bf16, Precision::F32] {
        // More than one chunk of conversion.
        let n = 300_001;
        let item = Item::new("x", [n], move || {
            Ok((0..n)
                .map(|i| special[i % 8] / (1 + i / 8) as f32)
                .collect())
        });
        write(&path, &[item], precision, &pt()).unwrap();
        let width = precision.width();
        let size = std::fs::metadata(&path).unwrap().len() as usize;
        assert!((n * width..n * width + 400).contains(&size));
        let read = Archive::open(&path).unwrap().values("x").unwrap();
        let torch = candle_core::safetensors::load(&path, &Device::Cpu).unwrap()["x"]
            .to_dtype(candle_core::DType::F32)
            .unwrap();
        assert_eq!(torch.to_vec1::<f32>().unwrap(), read);
        for (i, read) in read.into_iter().enumerate() {
            let v = special[i % 8] / (1 + i / 8) as f32;
            assert_eq!(
                read.to_bits(),
                want(precision, v).to_bits(),
                "{precision:?} {v}"
            );
        }
    }
    for (value, precision, fits) in [
        (65520.0, Precision::F16, false),
        (-65520.0, Precision::F16, false),
        (65520.0, Precision::Bf16, true),
        (f32::MAX, Precision::Bf16, false),
        (f32::MAX, Precision::F32, true),
    ] {
        let written = write(
            &path,
            &[Item::new("big", [1], move || Ok(vec![value]))],
            precision,
            &pt(),
        );
        assert_eq!(written.is_ok(), fits, "{value} {precision:?}");
        if let Err(e) = written {
            assert!(e.to_string().contains("tensor big holds"), "{e}");
        }
    }
}

#[test]
fn a_failure_leaves_the_old_file() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.safetensors");
    write(&path, &[item("x", &[4])], Precision::F32, &pt()).unwrap();
    let before = std::fs::read(&path).unwrap();
    let refuse = |items: &[Item], word: &str| {
        let message = write(&path, items, Precision::F32, &pt())
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("a.safetensors") && message.contains(word),
            "{message}"
        );
        assert!(std::fs::read(&path).unwrap() == before);
        assert_eq!(names(dir.path()), ["a.safetensors"]);
    };
    let short = Item::new("y", [5], || Ok(values(4)));
    refuse(
        &[item("x", &[9]), short],
        "tensor y of shape [5] has 4 values",
    );
    let broken = Item::new("z", [5], || -> Result<Vec<f32>> {
        candle_core::bail!("the disk is gone")
    });
    refuse(&[broken], "the disk is gone");
    refuse(
        &[item("x", &[1]), item("x", &[1])],
        "tensor x is there twice",
    );
    let nowhere = path.join("b.safetensors");
    let message = write(&nowhere, &[], Precision::F32, &pt())
        .unwrap_err()
        .to_string();
    assert!(message.contains("a.safetensors/b.safetensors"), "{message}");
}

/// 10 tensors of 100 values, f32: 4000 bytes.
fn network() -> Vec<Item<'static>> {
    (0..10)
        .map(|i| item(&format!("layer.{i}"), &[10, 10]))
        .collect()
}

fn weight_map(dir: &Path, index: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(dir.join(index)).unwrap();
    let index: serde_json::Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(index["weight_map"].clone()).unwrap()
}

#[test]
fn shards_have_the_names_of_diffusers_and_are_read_as_one() {
    let dir = TempDir::new().unwrap();
    let stem = "diffusion_pytorch_model";
    let shard =
        |max| write_sharded(dir.path(), stem, network(), Precision::F32, &pt(), max).unwrap();
    assert_eq!(
        shard(4000),
        [dir.path().join("diffusion_pytorch_model.safetensors")]
    );
    std::fs::remove_file(dir.path().join("diffusion_pytorch_model.safetensors")).unwrap();
    // Three tensors of 400 bytes fit into 1500.
    let files = shard(1500);
    let want = [
        "diffusion_pytorch_model-00001-of-00004.safetensors",
        "diffusion_pytorch_model-00002-of-00004.safetensors",
        "diffusion_pytorch_model-00003-of-00004.safetensors",
        "diffusion_pytorch_model-00004-of-00004.safetensors",
        "diffusion_pytorch_model.safetensors.index.json",
    ];
    assert_eq!(names(dir.path()), want);
    assert_eq!(files, want.map(|name| dir.path().join(name)));
    let text = std::fs::read_to_string(&files[4]).unwrap();
    let index: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(index["metadata"]["total_size"], 4000);
    let map = weight_map(dir.path(), want[4]);
    assert_eq!(map["layer.0"], want[0]);
    assert_eq!(map["layer.9"], want[3]);
    let archive = Archive::open_shards(&files[4], &map).unwrap();
    assert_eq!(archive.names().count(), 10);
    assert_eq!(archive.metadata(), &pt());
    assert_eq!(archive.values("layer.7").unwrap(), values(100));
    let params = Params::from_archive(&archive, false).unwrap();
    assert_eq!(params.tensors_sorted().unwrap().len(), 10);
    assert!(params.label().ends_with("index.json"));
    // A tensor larger than a shard gets its own shard.
    let dir = TempDir::new().unwrap();
    let items = vec![item("a", &[10]), item("b", &[1000]), item("c", &[10])];
    let files = write_sharded(dir.path(), "model", items, Precision::F16, &pt(), 100).unwrap();
    assert_eq!(files.len(), 4);
    assert!(files[1].ends_with("model-00002-of-00003.safetensors"));
}

#[test]
fn shards_that_contradict_their_index_are_refused() {
    let dir = TempDir::new().unwrap();
    let index = dir.path().join("model.safetensors.index.json");
    write_sharded(dir.path(), "model", network(), Precision::F32, &pt(), 2000).unwrap();
    let map = weight_map(dir.path(), "model.safetensors.index.json");
    let (first, second) = (
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    );
    let refuse = |map: &BTreeMap<String, String>, words: &[&str]| {
        let message = Archive::open_shards(&index, map).unwrap_err().to_string();
        for word in words {
            assert!(message.contains(word), "no `{word}` in: {message}");
        }
    };
    // A tensor that is in another shard than listed; and one that is in none.
    let mut lying = map.clone();
    lying.insert("layer.0".into(), second.into());
    refuse(
        &lying,
        &["model.safetensors.index.json", "layer.0", second, "lacks"],
    );
    let mut lying = map.clone();
    lying.insert("layer.x".into(), first.into());
    refuse(&lying, &["layer.x", first]);
    // Files elsewhere are not opened.
    for name in [
        "../evil.safetensors",
        "/etc/passwd",
        "model.bin",
        "a\\b.safetensors",
    ] {
        let mut lying = map.clone();
        lying.insert("layer.0".into(), name.into());
        refuse(&lying, &["model.safetensors.index.json", name]);
    }
    refuse(&BTreeMap::new(), &["weight_map"]);
    // A tensor in two shards.
    let bytes = std::fs::read(dir.path().join(first)).unwrap();
    let again = vec![item("layer.3", &[10, 10])];
    write(&dir.path().join(second), &again, Precision::F32, &pt()).unwrap();
    refuse(&map, &[second, "layer.3", first]);
    // A truncated shard, and a missing one.
    std::fs::write(dir.path().join(first), &bytes[..bytes.len() - 5]).unwrap();
    refuse(&map, &[first, "layer.4"]);
    std::fs::remove_file(dir.path().join(first)).unwrap();
    refuse(&map, &[first, "is not there"]);
}

#[test]
fn items_of_parameters_see_the_values_of_the_moment() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("p.safetensors");
    let tensor = Tensor::from_vec(values(24), (2, 3, 2, 2), &Device::Cpu).unwrap();
    let params = Params::from_tensors([("k".to_owned(), tensor)], "net", true).unwrap();
    let kernel = params.root().conv("k", [2, 3, 2, 2]).unwrap();
    let items = params.items();
    params.vars()[0]
        .1
        .set(&kernel.affine(0.0, 2.0).unwrap())
        .unwrap();
    write(&path, &items, Precision::Bf16, &pt()).unwrap();
    let archive = Archive::open(&path).unwrap();
    assert_eq!(archive.shape("k"), Some(&[2, 3, 2, 2][..]));
    assert_eq!(archive.values("k").unwrap(), vec![2.0; 24]);
}
