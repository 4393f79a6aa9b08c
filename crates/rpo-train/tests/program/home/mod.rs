//! A new user's folder, where the program is run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with a user's photos, where the program is run.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        let photos = home.path("my photos");
        fs::create_dir(&photos).unwrap();
        for i in 0..3u8 {
            let of = |x: u32, y: u32| image::Rgb([40 * i + x as u8, y as u8, 200]);
            let photo = image::RgbImage::from_fn(80, 70, of);
            photo.save(photos.join(format!("IMG_{i}.png"))).unwrap();
        }
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rpo-train"));
        command.args(args).current_dir(self.0.path());
        command.output().unwrap()
    }

    /// What it printed on standard output.
    pub(crate) fn succeeds(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it printed on standard error, as bad input.
    pub(crate) fn refuses(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {told}");
        told
    }
}

/// Sizes that take seconds.
pub(crate) const SMALL: [&str; 6] = [
    "--with",
    "smoke",
    "--set",
    "training.steps=2",
    "--set",
    "validation.every=1",
];

pub(crate) fn png_texts(path: &Path) -> Vec<(String, String)> {
    let file = std::io::BufReader::new(fs::File::open(path).unwrap());
    let reader = png::Decoder::new(file).read_info().unwrap();
    let texts = reader.info().uncompressed_latin1_text.iter();
    let texts = texts.map(|t| (t.keyword.clone(), t.text.clone()));
    texts.collect()
}

pub(crate) fn pngs(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
