//! `eval`'s tables of prompts: everything before an encoder is loaded.

use super::made::{arg, program};
use crate::case::Case;
use crate::target::Target;
use anyhow::Result;
use image::{ImageFormat, RgbImage};
use std::io::Cursor;

/// The tables, by ending; without one, prompts are beside the pictures.
const TABLES: [&str; 4] = [
    "prompts.json",
    "prompts.jsonl",
    "prompts.csv",
    "prompts.txt",
];

fn seeds() -> Result<Vec<Case>> {
    let mut photo = Cursor::new(Vec::new());
    RgbImage::new(8, 8).write_to(&mut photo, ImageFormat::Png)?;
    let photo = photo.into_inner();
    let plain = Case::of("refs/0.png", photo.clone())
        .with("pictures/0.png", photo.clone())
        .with("pictures/1.png", photo);
    let contents = [
        r#"{"0.png": "a {} in the snow", "1.png": "a [V] dog on a beach"}"#,
        "{\"picture\": \"0.png\", \"prompt\": \"a {token} red {class}\"}\n{\"file_name\": \"1.png\", \"text\": \"a [V] dog\"}\n",
        "picture,prompt\n0.png,\"a [V] dog, outdoors\"\n1.png,a {}\n",
        "a {} in the snow\na [V] dog\n",
    ];
    let tables = TABLES
        .iter()
        .zip(contents)
        .map(|(name, text)| plain.clone().with(name, text));
    let rows =
        r#"[{"picture": "0.png", "prompt": "a {}"}, {"picture": "1.png", "prompt": "b {}"}]"#;
    let mut all: Vec<Case> = tables.collect();
    all.push(plain.clone().with("prompts.json", rows));
    all.push(
        plain
            .clone()
            .with("pictures/0.txt", "a [V] dog")
            .with("pictures/1.txt", "a {}\n"),
    );
    all.push(plain.with(
        "pictures/metadata.csv",
        "file_name,text\n0.png,a [V] dog\n1.png,a {}\n",
    ));
    Ok(all)
}

pub(super) const PROMPTS: Target = Target {
    verb: true,
    ..Target::new(
        "prompts",
        "`eval`: prompts of pictures, in every form",
        seeds,
        |folder| {
            let given = |name: &&&str| folder.join(name).is_file();
            let table = TABLES.iter().find(given).map(|name| arg(folder, name));
            // No encoder is there, so that accepted prompts end quickly.
            let [refs, pictures, clip, out] =
                ["refs", "pictures", "no-encoder", "eval.json"].map(|name| arg(folder, name));
            let mut args = vec![
                "eval",
                "--references",
                &refs,
                "--pictures",
                &pictures,
                "--clip",
                &clip,
                "--out",
                &out,
                "--class",
                "dog",
            ];
            if let Some(table) = &table {
                args.extend(["--prompts", table]);
            }
            program(&args)
        },
    )
};
