//! Masks from the photo to the batch, the augmentation, and what is refused.

use super::common::{apart, batch, load, prepared, setup};
use image::{GrayImage, Luma, Rgb, RgbImage};
use rpo_data::augment::PREFIXES;
use rpo_data::mask::Mask;
use rpo_data::picture::{png_bytes, save_png};
use rpo_pref::terms::Rows;
use rpo_train::runner::objective::Batch;
use std::path::Path;

/// The masks of a batch's rows, each divided by its largest weight.
fn of_rows(batch: &Batch) -> Vec<Vec<f32>> {
    let roots = batch.rows[&Rows::Reference].mask().unwrap();
    let rows = roots.flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
    rows.iter()
        .map(|row| scaled(&row.iter().map(|r| r * r).collect::<Vec<_>>()))
        .collect()
}

fn scaled(weights: &[f32]) -> Vec<f32> {
    let most = weights.iter().copied().fold(0.0, f32::max);
    weights.iter().map(|w| w / most).collect()
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
}

/// Rows whose latents differ.
fn differ(a: &Batch, b: &Batch, rows: Rows) -> Vec<bool> {
    let [a, b] = [a, b].map(|batch| batch.rows[&rows].noised().clone());
    let far = (a - b).unwrap().abs().unwrap().flatten_from(1).unwrap();
    let far = far.max(1).unwrap().to_vec1::<f32>().unwrap();
    far.iter().map(|d| *d > 0.0).collect()
}

#[test]
fn masks_of_rendered_references_follow_the_mirror() {
    let masked = setup(&["recipe.masked=true"]);
    let set = prepared(&masked);
    let flip = setup(&["recipe.masked=true", "recipe.flip=true"]);
    let [plain, mirrored] = [batch(&masked, &set), batch(&flip, &prepared(&flip))];
    // The true masks, at 16 x 16.
    for (mask, reference) in set.masks.iter().zip(&masked.subjects[0].references) {
        let own = Mask::of(&reference.mask.as_ref().unwrap().picture);
        assert_eq!(*mask, own.area([0.0, 0.0, 64.0, 64.0], 16, 16));
    }
    let all: Vec<Vec<f32>> = set.masks.iter().map(|m| scaled(m.values())).collect();
    let turned: Vec<Vec<f32>> = set
        .masks
        .iter()
        .map(|m| scaled(m.mirrored().values()))
        .collect();
    let changed = differ(&plain, &mirrored, Rows::Reference);
    assert!(changed.contains(&true) && changed.contains(&false));
    for (row, changed) in changed.iter().enumerate() {
        let i = all
            .iter()
            .position(|mask| close(mask, &of_rows(&plain)[row]));
        let i = i.expect("a mask of a reference");
        let expected = if *changed { &turned[i] } else { &all[i] };
        assert!(close(&of_rows(&mirrored)[row], expected), "{row}");
    }
    // Without a mask the draws are the same.
    let without = setup(&[]);
    let without = batch(&without, &prepared(&without));
    assert!(without.rows[&Rows::Reference].mask().is_none());
    assert!(!differ(&plain, &without, Rows::Reference).contains(&true));
}

/// Sets for a folder of photos of 96 x 64 with a mask each, white where `is`.
fn photos(folder: &Path, count: usize, is: impl Fn(u32, u32) -> bool) -> Vec<String> {
    for i in 0..count {
        let hue = |x: u32| Rgb([x as u8, 90 * i as u8, 200]);
        let photo = RgbImage::from_fn(96, 64, |x, _| hue(x));
        save_png(folder.join(format!("{i}.png")), &photo).unwrap();
        let mask = GrayImage::from_fn(96, 64, |x, y| Luma([255 * u8::from(is(x, y))]));
        let mask = image::DynamicImage::ImageLuma8(mask).into_rgb8();
        std::fs::write(folder.join(format!("{i}.mask.png")), png_bytes(&mask)).unwrap();
    }
    vec![
        "subjects.source=\"folder\"".into(),
        format!("subjects.path={:?}", folder.display().to_string()),
        "subjects.class=\"dog\"".into(),
        "subjects.captions=false".into(),
        "recipe.l_pref_weight=0".into(),
    ]
}

fn with<'a>(sets: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    sets.iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect()
}

#[test]
fn masks_follow_a_random_crop() {
    let folder = tempfile::tempdir().unwrap();
    // A block that every square of 64 shows, partly at the borders of cells.
    let sets = photos(folder.path(), 2, |x, y| {
        (41..53).contains(&x) && (22..38).contains(&y)
    });
    let crop = [
        "recipe.masked=true",
        "recipe.crop=\"random\"",
        "recipe.flip=true",
    ];
    let setup = load(&with(&sets, &crop)).unwrap();
    let set = prepared(&setup);
    assert!(set.random_crop);
    assert_eq!(set.masks[0].dimensions(), (96, 64));
    let rows = of_rows(&batch(&setup, &set));
    let columns = |row: &[f32]| -> Vec<usize> {
        (0..16)
            .filter(|x| (0..16).any(|y| row[y * 16 + x] > 0.0))
            .collect()
    };
    let mut places = std::collections::BTreeSet::new();
    for row in &rows {
        let found = columns(row);
        places.insert(found[0]);
        // 12 pixels are 3 cells, or parts of 4.
        assert!((3..=4).contains(&found.len()), "{found:?}");
        // 22 to 38 are half of the sixth cell up to half of the tenth.
        let lines: Vec<f32> = (0..16).map(|y| row[y * 16 + found[1]]).collect();
        let expected = |y: usize| match y {
            5 | 9 => 0.5,
            6..=8 => 1.0,
            _ => 0.0,
        };
        assert!(
            (0..16).all(|y| (lines[y] - expected(y)).abs() < 1e-4),
            "{lines:?}"
        );
    }
    assert!(places.len() > 3, "{places:?}");
    // In the centre, at the cells: the block begins at pixel 25 of the square.
    let setup = load(&with(&sets, &["recipe.masked=true"])).unwrap();
    let set = prepared(&setup);
    assert_eq!(columns(set.masks[0].values()), [6, 7, 8, 9]);
    assert!((set.masks[0].values()[7 * 16 + 6] - 0.75).abs() < 1e-6);
}

#[test]
fn what_lacks_a_mask_is_named_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let left = |x: u32, _: u32| x < 10;
    let sets = photos(folder.path(), 2, left);
    let refused = |more: &[&str], words: &[&str]| {
        let error = load(&with(&sets, more)).err().expect("an error");
        let said = format!("{error:#}");
        assert!(error.is::<rpo_files::failure::BadInput>(), "{said}");
        for word in words.iter().chain(&["hint: "]) {
            assert!(said.contains(word), "{word}: {said}");
        }
    };
    let masked = ["recipe.masked=true"];
    let random = ["recipe.masked=true", "recipe.crop=\"random\""];
    refused(
        &masked,
        &["recipe.masked", "0.png", "centre square shows nothing"],
    );
    refused(&random, &["recipe.masked", "0.png", "random square"]);
    photos(folder.path(), 2, |x, y| (40..60).contains(&x) && y > 3);
    assert!(load(&with(&sets, &random)).is_ok());
    // Another mask is another run; without `masked` it is the same.
    let inputs = |more: &[&str]| load(&with(&sets, more)).unwrap().inputs_hash;
    let before = [inputs(&masked), inputs(&[])];
    photos(folder.path(), 2, |x, y| (40..60).contains(&x) && y > 4);
    assert_ne!(before[0], inputs(&masked));
    assert_eq!(before[1], inputs(&[]));
    let black = RgbImage::new(96, 64);
    save_png(at("1.mask.png"), &black).unwrap();
    refused(&masked, &["1.png", "1.mask.png", "black everywhere"]);
    std::fs::remove_file(at("1.mask.png")).unwrap();
    refused(
        &masked,
        &["recipe.masked", "1.png has no mask", "1.mask.png"],
    );
    assert!(load(&with(&sets, &[])).is_ok());
}

#[test]
fn the_augmentation_changes_references_and_their_words_alone() {
    let folder = tempfile::tempdir().unwrap();
    let output = format!("output={:?}", folder.path().display().to_string());
    let common = [
        &*output,
        "subjects.captions=false",
        "recipe.latent=\"sample\"",
        "recipe.prior_weight=1",
        "recipe.class_pictures=2",
        "recipe.preservation_weight=1",
        "recipe.instance_prompt=\"photo of a {}\"",
    ];
    let of = |more: &[&str]| {
        let setup = setup(&[&common, more].concat());
        let set = prepared(&setup);
        (batch(&setup, &set), set, setup)
    };
    let (plain, plain_set, _) = of(&[]);
    let (shown, set, setup) = of(&["recipe.augment=\"custom_diffusion\""]);
    assert!(plain_set.enlarged.is_empty());
    let times = |batch: &Batch, rows| batch.rows[&rows].timesteps().to_vec();
    for rows in [Rows::Reference, Rows::Plain, Rows::Class] {
        assert_eq!(times(&plain, rows), times(&shown, rows));
    }
    // Pictures of the class are drawn after the references, from the same stream.
    assert!(!differ(&plain, &shown, Rows::Class).contains(&true));
    assert!(!differ(&plain, &shown, Rows::Reference).contains(&false));
    assert!(shown.rows[&Rows::Plain].mask().is_none());
    assert!(shown.rows[&Rows::Class].mask().is_none());
    // Every reference's prompt after nothing and after each prefix.
    let prompts: Vec<String> = [""]
        .iter()
        .chain(&PREFIXES)
        .flat_map(|prefix| vec![format!("{prefix}photo of a [V] lion"); 5])
        .map(|text| text.replace("[V]", &setup.subjects[0].token))
        .collect();
    assert_eq!(set.c.prompts, prompts);
    let wanted = setup.pipeline.encode_prompts(&prompts, 64).unwrap();
    assert_eq!(apart(&wanted.hidden_states, &set.c.text.hidden_states), 0.0);
    // Boxes: most rows count a part, enlarged ones everything.
    let rows = of_rows(&shown);
    let whole = rows
        .iter()
        .filter(|row| row.iter().all(|m| *m == 1.0))
        .count();
    assert!((1..12).contains(&whole), "{whole}");
    for row in &rows {
        let inner: Vec<usize> = (0..256).filter(|i| row[*i] > 0.0).collect();
        let span = |of: fn(usize) -> usize| {
            let places = || inner.iter().map(|i| of(*i));
            places().max().unwrap() - places().min().unwrap() + 1
        };
        assert_eq!(inner.len(), span(|i| i % 16) * span(|i| i / 16), "a box");
    }
    // With flips, again the same draws otherwise.
    let (flipped, ..) = of(&["recipe.augment=\"custom_diffusion\"", "recipe.flip=true"]);
    assert!(!differ(&flipped, &shown, Rows::Class).contains(&true));
    let changed = differ(&flipped, &shown, Rows::Reference);
    assert!(changed.contains(&true) && changed.contains(&false));
    assert_eq!(of_rows(&flipped), rows);
}
