//! Invalid safetensors files: every way in which a header can be wrong.

use rpo_nn::weights::Archive;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A safetensors file with any header.
fn craft(dir: &TempDir, header: &str, data: usize) -> PathBuf {
    let path = dir.path().join("crafted.safetensors");
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 1);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The refusal of a file, which names it.
fn refusal(path: &Path) -> String {
    let message = Archive::open(path).unwrap_err().to_string();
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(message.contains(name), "{message}");
    message
}

#[test]
fn headers_that_lie_are_refused_with_the_tensor() {
    let dir = TempDir::new().unwrap();
    let entry = |name: &str, dtype: &str, shape: &str, from: u64, to: u64| {
        format!(
            "\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{from},{to}]}}"
        )
    };
    let cases: [(&[String], usize, &[&str]); 12] = [
        (
            &[
                entry("a", "F32", "[2]", 0, 8),
                entry("b", "F32", "[2]", 4, 12),
            ],
            12,
            &["a and b overlap"],
        ),
        (
            &[
                entry("a", "F32", "[2]", 0, 8),
                entry("b", "F32", "[2]", 0, 8),
            ],
            8,
            &["a and b overlap"],
        ),
        (
            &[
                entry("a", "F32", "[2]", 0, 8),
                entry("b", "F32", "[2]", 12, 20),
            ],
            20,
            &["tensor b", "byte 8"],
        ),
        (&[entry("a", "F32", "[2]", 8, 0)], 8, &["tensor a"]),
        (
            &[entry("a", "F32", "[3]", 0, 8)],
            8,
            &["tensor a", "[3]", "8 bytes"],
        ),
        (&[entry("a", "F16", "[2]", 0, 8)], 8, &["tensor a", "F16"]),
        (&[entry("a", "F7", "[2]", 0, 8)], 8, &["tensor a", "F7"]),
        (&[entry("a", "F32", "[-2]", 0, 8)], 8, &["tensor a"]),
        (
            &[entry(
                "a",
                "F32",
                "[4294967296, 4294967296, 4294967296]",
                0,
                8,
            )],
            8,
            &["tensor a"],
        ),
        (
            &[
                entry("a", "F32", "[2]", 0, 8),
                entry("b", "F32", "[9]", 8, 44),
            ],
            20,
            &["tensor b", "44 bytes"],
        ),
        (
            &["\"a\":{\"dtype\":\"F32\"}".into()],
            8,
            &["tensor a", "shape"],
        ),
        (&[entry("a", "F32", "[2]", 0, 8)], 9, &["8 bytes", "9"]),
    ];
    for (entries, data, words) in cases {
        let message = refusal(&craft(&dir, &format!("{{{}}}", entries.join(",")), data));
        for word in words {
            assert!(
                message.contains(word),
                "{entries:?}: no `{word}` in: {message}"
            );
        }
    }
    // Valid, but of an unsupported dtype.
    let message = refusal(&craft(
        &dir,
        &format!("{{{}}}", entry("a.weight", "F8_E4M3", "[8]", 0, 8)),
        8,
    ));
    assert!(
        message.contains("a.weight") && message.contains("F8_E4M3"),
        "{message}"
    );
    // Not an object at all; no JSON; no UTF-8.
    for header in ["[1, 2]", "{\"a\": ", "\u{7f}\u{1}"] {
        refusal(&craft(&dir, header, 0));
    }
    // A header of twice the file's length, and one of 2^63 bytes: neither is allocated.
    let path = dir.path().join("long.safetensors");
    for length in [100u64, 1 << 63, 200_000_000] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(b"{}      ");
        std::fs::write(&path, bytes).unwrap();
        assert!(refusal(&path).contains(&format!("{length} bytes long")));
    }
}

#[test]
fn what_is_often_found_in_place_of_weights_is_recognised() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("model.safetensors");
    let cases: [(&[u8], &str); 8] = [
        (b"GGUF\x03\x00\x00\x00\x00\x00", "GGUF"),
        (b"\x08\x08\x12\x07pytorch", "ONNX"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", "gzip"),
        (
            b"PK\x03\x04\x00\x00\x08\x08archive/data.pkl",
            "safe_serialization",
        ),
        (
            b"\x80\x02}q\x00(X\x05\x00\x00\x00alphaq\x01",
            "safe_serialization",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3438167540\n",
            "git lfs pull",
        ),
        (b"<!doctype html><html><head><title>404</title>", "web page"),
        (b"", "empty"),
    ];
    for (bytes, word) in cases {
        std::fs::write(&path, bytes).unwrap();
        let message = refusal(&path);
        assert!(message.contains(word), "{message}");
    }
    // A header whose length begins like a pickle, a tag or a packed file is neither.
    for first in [0x3cu8, 0x80, 0x1f] {
        let mut header = "{\"__metadata__\":{\"format\":\"pt\"}}".to_owned();
        let length = match first {
            0x80 => 0x0280,
            0x1f => 0x8b1f,
            _ => 0x3c,
        };
        header.push_str(&" ".repeat(length - header.len()));
        let path = craft(&dir, &header, 0);
        assert_eq!(std::fs::read(&path).unwrap()[0], first);
        assert_eq!(Archive::open(&path).unwrap().names().count(), 0);
    }
    assert!(refusal(dir.path()).contains("cannot be read"));
}
