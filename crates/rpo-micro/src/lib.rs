//! The bytes of the embedded model, `assets/micro`, and nothing else: other crates unpack and read them.
//!
//! They are stored uncompressed. Trained weights in 16 bits hardly compress: of the 20.9 MB, `zstd -19` leaves 19.2 MB and `gzip -9`
//! 19.2 MB, 92 % (each weight file 91 to 92 %), which is not worth a decoder and its time at every start.

/// A file of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path in the model's folder, with slashes: `unet/config.json`.
    pub path: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
}

/// All files of the model, including those in its folders, sorted by path.
pub static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole_and_sorted() {
        assert!(FILES.is_sorted_by(|a, b| a.path < b.path));
        let folders = [
            "unet",
            "vae",
            "text_encoder",
            "scheduler",
            "tokenizer",
            "reward",
            "eval_clip",
            "eval_dino",
            "cond_clip",
        ];
        for folder in folders {
            let inside = |f: &File| {
                f.path
                    .split_once('/')
                    .is_some_and(|(first, _)| first == folder)
            };
            assert!(FILES.iter().any(inside), "{folder}");
        }
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/micro");
        for file in FILES {
            assert!(!file.path.contains('\\'), "{}", file.path);
            let path = std::path::Path::new(source).join(file.path);
            assert!(std::fs::read(&path).unwrap() == file.bytes, "{}", file.path);
        }
        assert!(FILES.iter().any(|f| f.path == "README.md"));
    }
}
