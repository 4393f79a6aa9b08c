//! Weights that are not finite are neither read nor written, and shapes are compared before a value is read.

use candle_core::Result;
use rpo_nn::layers::{Conv2d, Linear};
use rpo_nn::ops::ConvSpec;
use rpo_nn::weights::{
    Archive, Item, Params, Precision, Scope, pt, to_bytes, write, write_sharded,
};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A file of one tensor `w` `[rows, 4]`, of which everything but `bytes` at value `place` is zero and not on the disk.
fn sparse(dir: &TempDir, dtype: &str, rows: u64, place: u64, bytes: &[u8]) -> PathBuf {
    let width = bytes.len() as u64;
    let size = rows * 4 * width;
    let mut header = format!(
        "{{\"w\":{{\"dtype\":\"{dtype}\",\"shape\":[{rows},4],\"data_offsets\":[0,{size}]}}}}"
    );
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let path = dir.path().join(format!("{dtype}.safetensors"));
    let mut file = File::create(&path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let data = 8 + header.len() as u64;
    file.set_len(data + size).unwrap();
    file.seek(SeekFrom::Start(data + place * width)).unwrap();
    file.write_all(bytes).unwrap();
    path
}

fn message<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("it was accepted"),
        Err(e) => e.to_string(),
    }
}

#[test]
fn the_first_value_that_is_not_finite_is_told() {
    let dir = TempDir::new().unwrap();
    let f16 = |bits: u16| bits.to_le_bytes().to_vec();
    // 70000 rows are several chunks of reading of each dtype.
    for place in [0, 4 * 69_999 + 3] {
        for (dtype, bytes, value) in [
            ("F32", f32::NAN.to_le_bytes().to_vec(), "NaN"),
            ("F32", f32::NEG_INFINITY.to_le_bytes().to_vec(), "-inf"),
            ("F32", 0xff80_0001u32.to_le_bytes().to_vec(), "NaN"),
            ("F16", f16(0x7c00), "inf"),
            ("F16", f16(0xfc00), "-inf"),
            ("F16", f16(0x7e00), "NaN"),
            ("BF16", f16(0x7f80), "inf"),
            ("BF16", f16(0xffc0), "NaN"),
            ("F64", f64::NAN.to_le_bytes().to_vec(), "NaN"),
            ("F64", f64::INFINITY.to_le_bytes().to_vec(), "inf"),
            (
                "F64",
                1e300f64.to_le_bytes().to_vec(),
                "1e300, which f32 cannot hold",
            ),
        ] {
            let path = sparse(&dir, dtype, 70_000, place, &bytes);
            let told = message(Params::open(&path, false));
            let index = format!("value [{}, {}], is {value}", place / 4, place % 4);
            for word in [&format!("{dtype}.safetensors: tensor w"), &index, "hint"] {
                assert!(told.contains(word), "{dtype}, no {word:?} in: {told}");
            }
        }
    }
    // The largest and the smallest numbers of each are read.
    for (dtype, bytes, value) in [
        ("F32", f32::MAX.to_le_bytes().to_vec(), f32::MAX),
        ("F16", f16(0x7bff), 65504.0),
        ("F16", f16(0x0001), 2f32.powi(-24)),
        ("BF16", f16(0xff7f), f32::from_bits(0xff7f_0000)),
        ("F64", f64::from(f32::MIN).to_le_bytes().to_vec(), f32::MIN),
        ("F64", 1e-300f64.to_le_bytes().to_vec(), 0.0),
    ] {
        let archive = Archive::open(&sparse(&dir, dtype, 3, 5, &bytes)).unwrap();
        assert_eq!(archive.values("w").unwrap()[5], value, "{dtype}");
    }
}

#[test]
fn it_is_told_with_its_shard_and_by_states_too() {
    let dir = TempDir::new().unwrap();
    let items = ["a", "b"].map(|name| Item::new(name, [2], || Ok(vec![1.0, 2.0])));
    let files = write_sharded(dir.path(), "model", items.into(), Precision::F32, &pt(), 8).unwrap();
    let mut bytes = fs::read(&files[1]).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&files[1], bytes).unwrap();
    let map = ["a", "b"].into_iter().zip(&files);
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let map = map.map(|(tensor, path)| (tensor.to_owned(), name(path)));
    let archive = Archive::open_shards(&files[2], &map.collect()).unwrap();
    let told = message(Params::from_archive(&archive, false));
    assert!(
        told.contains("model-00002-of-00002.safetensors: tensor b, value [1]"),
        "{told}"
    );

    let params = Params::open(&files[0], true).unwrap();
    let path = dir.path().join("state.safetensors");
    params.save(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 8..end - 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let told = message(params.load_values(&path));
    assert!(
        told.contains("state.safetensors: tensor a, value [0], is inf"),
        "{told}"
    );
    assert_eq!(params.items()[0].values().unwrap(), [1.0, 2.0]);
}

#[test]
fn what_is_not_finite_is_not_written() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("out.safetensors");
    let item = |value: f32| Item::new("x.weight", [2, 2], move || Ok(vec![0.0, 1.0, value, 3.0]));
    let (f32, f16, bf16) = (Precision::F32, Precision::F16, Precision::Bf16);
    for (value, precision, words) in [
        (f32::NAN, f32, ["value [1, 0] is NaN", "finite"]),
        (f32::NEG_INFINITY, f16, ["value [1, 0] is -inf", "finite"]),
        (f32::INFINITY, bf16, ["value [1, 0] is inf", "finite"]),
        (1e30, f16, ["F16 cannot hold", "BF16 or F32"]),
        (f32::MAX, bf16, ["BF16 cannot hold", "write F32"]),
    ] {
        let told = message(write(&path, &[item(value)], precision, &pt()));
        assert!(
            told.contains("out.safetensors") && told.contains("x.weight"),
            "{told}"
        );
        for word in words {
            assert!(told.contains(word), "no {word:?} in: {told}");
        }
        assert!(to_bytes(&[item(value)], precision, &pt()).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

/// A layer that wants `w` to be `[3, 4]`.
fn build(scope: &Scope) -> Result<Linear> {
    let weight = scope.tensor("w", &[3, 4])?;
    assert_eq!(weight.dims(), [3, 4]);
    Linear::new(&scope.sub("fc"), 4, 3, false)
}

#[test]
fn shapes_are_compared_without_reading_values() {
    let dir = TempDir::new().unwrap();
    // A terabyte that is not there: reading it would take all memory.
    let path = sparse(&dir, "F32", 1 << 36, 0, &f32::NAN.to_le_bytes());
    let outline = Params::outline(&Archive::open(&path).unwrap()).unwrap();
    let told = message(build(&outline.root()));
    for word in ["F32.safetensors: tensor w", "[68719476736, 4]", "[3, 4]"] {
        assert!(told.contains(word), "no {word:?} in: {told}");
    }

    let small = dir.path().join("small.safetensors");
    let zeros = |name: &str, shape: &[usize]| {
        let n = shape.iter().product();
        Item::new(name, shape, move || Ok(vec![0.0; n]))
    };
    let items = [
        zeros("w", &[3, 4]),
        zeros("conv.weight", &[5, 2, 3, 3]),
        zeros("left", &[]),
    ];
    write(&small, &items, Precision::F16, &pt()).unwrap();
    let outline = Params::outline(&Archive::open(&small).unwrap()).unwrap();
    let conv = Conv2d::new(
        &outline.root().sub("conv"),
        2,
        5,
        3,
        ConvSpec::same(3),
        false,
    );
    assert!(conv.is_ok());
    let told = message(build(&outline.root()));
    assert!(told.contains("fc.weight [3, 4] is missing"), "{told}");
    assert_eq!(outline.unused(), ["left"]);
    assert_eq!(outline.parameters(), 12 + 90 + 1);
}

#[test]
fn integers_in_place_of_weights_are_told() {
    let dir = TempDir::new().unwrap();
    for (dtype, bytes) in [("I64", 8), ("BOOL", 1), ("U8", 1), ("I32", 4)] {
        let path = sparse(&dir, dtype, 3, 0, &vec![1; bytes]);
        let archive = Archive::open(&path).unwrap();
        for params in [
            Params::outline(&archive),
            Params::from_archive(&archive, false),
        ] {
            let told = message(build(&params.unwrap().root()));
            let words = format!("{dtype}.safetensors: tensor w is {dtype}; f32, f16");
            assert!(told.contains(&words), "{told}");
        }
    }
}
