//! Masked identity on true renders, whose content is known.

use image::RgbImage;
use image::imageops::{FilterType, resize};
use rpo_data::prompts::fill;
use rpo_data::random::stream;
use rpo_data::stickerbench::caption::Caption;
use rpo_data::stickerbench::identity::Masked;
use rpo_data::stickerbench::prompts;
use rpo_data::stickerbench::sticker::Look;
use rpo_data::stickerbench::subjects::{look, looks};
use rpo_data::stickerbench::world::{Picture, draw};

/// Test prompts with a scene alone, with a colour, and with both.
const PROMPTS: [usize; 6] = [0, 2, 5, 6, 9, 13];

fn rendered(look: &Look, prompt: &str, noun: &str, key: &str) -> (Caption, RgbImage) {
    let text = fill(prompt, None, noun);
    let caption = Caption::parse(&text).unwrap_or_else(|| panic!("{text}"));
    let mut rng = stream(9, "identity", &[key]);
    let picture = draw(&Picture::of_caption(&caption, look.clone(), &mut rng));
    (caption, picture)
}

/// The masked identities of renders in the look that `shown` gives, of four subjects with six prompts each.
fn identities(shown: impl Fn(usize, &[Look]) -> Look) -> Vec<f64> {
    let subjects = looks(1, 4);
    let prompts = prompts().test;
    let cases = (0..subjects.len()).flat_map(|i| PROMPTS.map(|k| (i, k)));
    let of = |(i, k): (usize, usize)| {
        let own = &subjects[i];
        let (look, key) = (shown(i, &subjects), format!("{i} {k}"));
        let (caption, picture) = rendered(&look, &prompts[k], &own.noun, &key);
        Masked::new(own, caption.colour).identity(&picture)
    };
    cases.map(of).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn it_tells_the_subject_from_its_noun_and_from_other_things() {
    let subject = identities(|i, all| all[i].clone());
    let noun = identities(|i, all| Look::plain(&all[i].noun));
    let other_look = identities(|i, all| look(1, &format!("{}-2", all[i].noun)));
    let other_subject = identities(|i, all| all[(i + 1) % all.len()].clone());
    println!("{subject:.2?}\n{noun:.2?}\n{other_look:.2?}\n{other_subject:.2?}");
    assert!(subject.iter().all(|v| (0.3..=1.0).contains(v)) && mean(&subject) > 0.7);
    assert!(noun.iter().all(|v| (-1.0..=-0.3).contains(v)) && mean(&noun) < -0.8);
    assert!(mean(&other_look).abs() < 0.35 && mean(&other_subject).abs() < 0.35);
    for values in [other_look, other_subject] {
        for (value, (subject, noun)) in values.iter().zip(subject.iter().zip(&noun)) {
            assert!(
                noun < value && value < subject,
                "{noun} < {value} < {subject}"
            );
        }
    }
}

#[test]
fn size_and_background_do_not_matter() {
    let own = look(1, "lemon");
    let (_, picture) = rendered(&own, "a {class} in the snow", "lemon", "a");
    let masked = Masked::new(&own, None);
    let value = masked.identity(&picture);
    let larger = masked.identity(&resize(&picture, 128, 128, FilterType::Lanczos3));
    assert!((value - larger).abs() < 0.02, "{value} {larger}");
    let (_, elsewhere) = rendered(&own, "a {class} at night", "lemon", "a");
    let there = masked.identity(&elsewhere);
    assert!((value - there).abs() < 0.15, "{value} {there}");
    let flat = RgbImage::from_pixel(64, 64, image::Rgb([120, 120, 120]));
    assert!(masked.identity(&flat).abs() < 0.35);
}
