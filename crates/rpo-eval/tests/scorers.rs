//! Scorers as columns: the judges, and a metric unknown to the crate.

use anyhow::Result;
use image::{Rgb, RgbImage};
use rpo_data::stickerbench::caption::Caption;
use rpo_data::stickerbench::sticker::Look;
use rpo_data::stickerbench::subjects;
use rpo_data::stickerbench::world::{Picture, draw};
use rpo_eval::masked::MaskedColumn;
use rpo_eval::metrics::{ImageJudge, TextJudge};
use rpo_eval::scorer::{ClipColumns, ImageColumn, Scored, Scorer};
use rpo_nn::Place;
use rpo_stats::Column;
use std::path::{Path, PathBuf};

/// The mean of all bytes of a picture, in [0, 1].
struct Brightness;

impl Scorer for Brightness {
    fn columns(&self) -> Vec<Column> {
        vec![Column {
            name: "brightness".into(),
            computed_by: "pixels".into(),
            explanation: "Mean of a picture's bytes.".into(),
            higher_is_better: None,
        }]
    }

    fn values(&self, scored: Scored<'_>) -> Result<Vec<Vec<f64>>> {
        let mean = |p: &RgbImage| {
            let sum: f64 = p.as_raw().iter().map(|b| f64::from(*b) / 255.0).sum();
            sum / p.as_raw().len() as f64
        };
        Ok(vec![scored.pictures.iter().map(mean).collect()])
    }
}

fn micro(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../assets/micro")
        .join(part)
}

#[test]
fn each_gives_one_value_a_picture_in_each_of_its_columns() {
    let place = Place::default();
    let scorers: [Box<dyn Scorer>; 3] = [
        Box::new(ImageColumn {
            judge: ImageJudge::load(&micro("eval_dino"), &place).unwrap(),
            name: "ViT-I".into(),
            computed_by: "micro/eval_dino".into(),
        }),
        Box::new(ClipColumns {
            judge: TextJudge::load(&micro("eval_clip"), &place).unwrap(),
            computed_by: "micro/eval_clip".into(),
            reading: "token removed".into(),
        }),
        Box::new(Brightness),
    ];
    let flat = |level: u8| RgbImage::from_pixel(64, 64, Rgb([level, level, 40]));
    let pictures = [flat(10), flat(120), flat(250)];
    let texts = ["a dog", "a cat", "a sticker"].map(str::to_owned);
    let scored = Scored {
        pictures: &pictures,
        references: &pictures[1..2],
        texts: &texts,
        look: None,
    };
    let mut names = Vec::new();
    for scorer in &scorers {
        let (columns, values) = (scorer.columns(), scorer.values(scored).unwrap());
        assert_eq!(columns.len(), values.len());
        assert!(values.iter().flatten().all(|v| v.is_finite()));
        assert!(values.iter().all(|v| v.len() == pictures.len()));
        names.extend(columns.into_iter().map(|c| c.name));
        if names.len() < 3 {
            // The second picture is the reference itself.
            assert!((values[0][1] - 1.0).abs() < 1e-5, "{values:?}");
        }
    }
    assert_eq!(names, ["ViT-I", "CLIP-I", "CLIP-T", "brightness"]);
}

#[test]
fn masked_identity_is_of_rendered_subjects_and_reads_the_prompted_colour() {
    let subject = &subjects(1, 1, 64)[0];
    let look = subject.look.as_ref().unwrap();
    let text = format!("a red {} in the snow", subject.class);
    let caption = Caption::parse(&text).unwrap();
    let picture = |look: &Look| {
        let mut rng = rpo_data::random::stream(0, "masked", &[]);
        draw(&Picture::of_caption(&caption, look.clone(), &mut rng))
    };
    let pictures = [picture(look), picture(&Look::plain(&subject.class))];
    let texts = [text.clone(), text];
    let scored = |look| Scored {
        pictures: &pictures,
        references: &[],
        texts: &texts,
        look,
    };
    let masked = MaskedColumn::default();
    let values = masked.values(scored(Some(look))).unwrap();
    assert_eq!(masked.columns().len(), values.len());
    assert_eq!(masked.values(scored(Some(look))).unwrap(), values);
    // Another subject gets other values, and then the first one its own again.
    let other = subjects(1, 2, 64)[1].look.clone();
    assert_ne!(masked.values(scored(other.as_ref())).unwrap(), values);
    assert_eq!(masked.values(scored(Some(look))).unwrap(), values);
    assert!(values[0][0] > 0.5 && values[0][1] < -0.5, "{values:?}");
    assert!(masked.values(scored(None)).is_err());
}
