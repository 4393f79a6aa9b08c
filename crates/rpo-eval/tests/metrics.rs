//! The metrics by hand on small vectors, and properties of the embedded judges that hold for any weights.

use std::path::{Path, PathBuf};
use std::slice::from_ref;

use image::{Rgb, RgbImage};
use ndarray::{Array2, array};
use rpo_eval::metrics::{ImageJudge, TextJudge, diversity, image_similarity, text_similarity};
use rpo_nn::Place;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../assets/micro")
        .join(name)
}

fn picture(seed: u8) -> RgbImage {
    RgbImage::from_fn(64, 64, |x, y| {
        Rgb([(x * 4) as u8 ^ (seed * 50), (y * 4) as u8, 40 * seed])
    })
}

#[test]
fn figures_worked_by_hand() {
    let pictures = array![[1.0f32, 0.0], [0.0, 1.0], [-1.0, 0.0]];
    let references = array![[1.0f32, 0.0], [0.0, 1.0]];
    assert_eq!(
        image_similarity(pictures.view(), references.view()),
        [0.5, 0.5, -0.5]
    );
    let texts = array![[0.0f32, 1.0], [0.0, 1.0], [1.0, 0.0]];
    assert_eq!(
        text_similarity(pictures.view(), texts.view()),
        [0.0, 1.0, -1.0]
    );
    // Distances 1, 2, 1.
    assert_eq!(diversity(pictures.view()), Some(4.0 / 3.0));
    assert_eq!(
        diversity(array![[1.0f32, 0.0], [1.0, 0.0]].view()),
        Some(0.0)
    );
    assert_eq!(diversity(array![[1.0f32, 0.0]].view()), None);
    assert_eq!(diversity(Array2::<f32>::zeros((0, 2)).view()), None);
}

#[test]
fn the_image_judge_knows_a_picture_again() {
    let judge = ImageJudge::load(&folder("eval_dino"), &Place::default()).unwrap();
    let (a, b, c) = (picture(1), picture(2), picture(4));
    let alone = judge
        .similarity(&[a.clone(), b.clone()], from_ref(&a))
        .unwrap();
    assert!(
        (alone[0] - 1.0).abs() < 1e-6 && alone[1] < 1.0 - 1e-4,
        "{alone:?}"
    );
    // The mean over the references is the mean of the scores with each.
    let both = judge
        .similarity(from_ref(&c), &[a.clone(), b.clone()])
        .unwrap()[0];
    let each = [&a, &b].map(|r| judge.similarity(from_ref(&c), from_ref(r)).unwrap()[0]);
    assert!((both - (each[0] + each[1]) / 2.0).abs() < 1e-6);
    let spread = judge.diversity(&[a.clone(), b.clone()]).unwrap().unwrap();
    assert!((spread - (1.0 - alone[1])).abs() < 1e-6);
    assert_eq!(judge.diversity(from_ref(&a)).unwrap(), None);
    assert!(
        judge
            .similarity(&[a], &[])
            .unwrap_err()
            .to_string()
            .contains("without references")
    );
}

#[test]
fn the_text_judge_reads_each_pictures_own_text() {
    let judge = TextJudge::load(&folder("eval_clip"), &Place::default()).unwrap();
    let pictures = [picture(1), picture(3)];
    let texts = [
        "a dog in the snow".to_owned(),
        "a red car in a city".to_owned(),
    ];
    let crossed = [texts[1].clone(), texts[0].clone()];
    let readings = [texts.to_vec(), crossed.to_vec()];
    let both = judge.scores(&pictures, &pictures[..1], &readings).unwrap();
    for i in 0..2 {
        let reading = [texts[i..=i].to_vec()];
        let alone = judge
            .scores(&pictures[i..=i], &pictures[..1], &reading)
            .unwrap();
        let text = both.texts[0][i];
        assert!((text - alone.texts[0][0]).abs() < 1e-5 && text.abs() <= 1.0 + 1e-6);
        assert!((both.image[i] - alone.image[0]).abs() < 1e-5);
    }
    assert!((both.texts[1][0] - both.texts[0][0]).abs() > 1e-4);
    assert!((both.image[0] - 1.0).abs() < 1e-6);
    let error = judge
        .scores(&pictures, &pictures, &[texts[..1].to_vec()])
        .unwrap_err()
        .to_string();
    assert!(error.contains("2 pictures and 1 texts"), "{error}");
    let error = judge.scores(&pictures, &[], &readings).unwrap_err();
    assert!(error.to_string().contains("without references"), "{error}");
}

#[test]
fn a_folder_that_is_none_is_named() {
    let error = format!(
        "{:#}",
        ImageJudge::load(Path::new("no/such/folder"), &Place::default()).unwrap_err()
    );
    assert!(error.contains("no/such/folder"), "{error}");
    assert!(TextJudge::load(&folder("eval_dino"), &Place::default()).is_err());
}
