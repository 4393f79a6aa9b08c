//! StickerBench as a folder in DreamBench's layout, with as many subjects as are wanted, captions, masks and every parameter.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use image::{GrayImage, ImageFormat};
use rpo_files::AtPath;
use serde::Serialize;

use super::sticker::{Look, mask};
use super::subjects::{caption_of, look, names, reference_of};
use super::world::{Picture, draw};
use crate::picture::png_bytes;
use crate::subject::is_live;

/// Subjects of a folder.
pub const MOST_SUBJECTS: usize = 100_000;
/// Pictures of all subjects of a folder.
pub const MOST_PICTURES: usize = 1_000_000;

/// A folder to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// Seed of looks and scenes.
    pub seed: u64,
    /// Number of subjects, those of [`super::subjects()`].
    pub subjects: usize,
    /// Pictures of each.
    pub references: usize,
}

/// One subject: a line of `subjects.jsonl`.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    class: &'a str,
    live: bool,
    references: Vec<Picture>,
}

impl Dataset {
    /// Checks the numbers.
    ///
    /// # Errors
    /// A number that is 0 or above its limit.
    pub fn check(&self) -> Result<()> {
        if self.subjects == 0 || self.references == 0 {
            bail!(
                "{} subjects with {} pictures each\n  hint: 1 or more of both",
                self.subjects,
                self.references
            );
        }
        if self.subjects > MOST_SUBJECTS {
            bail!(
                "{} subjects, of at most {MOST_SUBJECTS}\n  hint: another seed has others",
                self.subjects
            );
        }
        let pictures = self.subjects.saturating_mul(self.references);
        if pictures > MOST_PICTURES {
            bail!(
                "{} subjects with {} pictures each are {pictures} pictures, of at most {MOST_PICTURES}\n  hint: fewer of one of them",
                self.subjects,
                self.references
            );
        }
        Ok(())
    }

    /// Writes it into `folder`, which exists: `dataset/<subject>/00.png` with `00.txt` beside it and
    /// `dataset/prompts_and_classes.txt`, as [`crate::subject::load_folder`] reads them; `masks/<subject>/00.png`,
    /// `subjects.jsonl` with every parameter, and `README.md`. The same bytes for the same numbers; more subjects change none.
    ///
    /// # Errors
    /// Those of [`Self::check`]; I/O errors by path.
    pub fn write(&self, folder: &Path) -> Result<()> {
        self.check()?;
        let (mut classes, mut rows) = ("subject_name,class\n".to_owned(), String::new());
        for name in names(self.seed, self.subjects) {
            let look = look(self.seed, &name);
            let row = self.subject(folder, &name, &look)?;
            writeln!(classes, "{name},{}", look.noun)?;
            rows += &serde_json::to_string(&row)?;
            rows.push('\n');
        }
        write(&folder.join("dataset/prompts_and_classes.txt"), classes)?;
        write(&folder.join("subjects.jsonl"), rows)?;
        write(&folder.join("README.md"), self.readme())
    }

    /// Writes the files of one subject.
    fn subject<'a>(&self, folder: &Path, name: &'a str, look: &'a Look) -> Result<Row<'a>> {
        let [photos, masks] = ["dataset", "masks"].map(|part| folder.join(part).join(name));
        for folder in [&photos, &masks] {
            fs::create_dir_all(folder).writing(folder)?;
        }
        let of = |index| reference_of(self.seed, name, look, index);
        let references: Vec<Picture> = (0..self.references).map(of).collect();
        for (i, picture) in references.iter().enumerate() {
            let caption = caption_of(picture);
            let file = |ending| format!("{i:02}.{ending}");
            write(&photos.join(file("png")), png_bytes(&draw(picture)))?;
            write(&photos.join(file("txt")), format!("{caption}\n"))?;
            write(&masks.join(file("png")), grey_png(&mask(&picture.sticker))?)?;
        }
        Ok(Row {
            name,
            class: &look.noun,
            live: is_live(&look.noun),
            references,
        })
    }

    fn readme(&self) -> String {
        format!(
            r#"# StickerBench

{} subjects with {} pictures each, seed {}: `rpo-train stickerbench --subjects {} --references {} --seed {}` writes the same bytes.

A subject is a Twemoji sticker with a look, a pattern in a colour, that no word of its captions names. Its pictures are of 64 x 64
pixels, on a wooden floor and on a street in turn. They are drawn, not photographed, so captions and masks are exact.

| | |
|---|---|
| `dataset/<subject>/00.png`, `00.txt` | a picture and its caption; `[v]` stands for the subject |
| `dataset/prompts_and_classes.txt` | the class of each subject |
| `masks/<subject>/00.png` | how much of each pixel the sticker covers, 0 to 255 |
| `subjects.jsonl` | every parameter of every picture, and whether the subject is an animal or a person |

To train on it:

```toml
[subjects]
source = "dreambench"
path = "dataset"      # the path of that folder
count = 0             # all, or the first of them by name; names = ["lion"] picks some

[prompts]
train = "stickerbench"
validation = "stickerbench"
test = "stickerbench"
```

## Licence

The pictures are made of Twemoji graphics, Copyright Twitter, Inc and other contributors, licensed under CC-BY 4.0,
https://creativecommons.org/licenses/by/4.0/. Changes: scaled, turned, mirrored, overlaid with patterns, placed in drawn scenes.
Who passes the pictures on gives the same attribution.
"#,
            self.subjects, self.references, self.seed, self.subjects, self.references, self.seed
        )
    }
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    Ok(fs::write(path, bytes).writing(path)?)
}

/// A PNG of one channel.
fn grey_png(picture: &GrayImage) -> Result<Vec<u8>> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png)?;
    Ok(bytes.into_inner())
}
