//! The judges name the content of true renders, and not on pictures of something else.

use rpo_diffusion::Pipeline;
use rpo_encoders::dual::DualEncoder;
use rpo_encoders::vit::VitEncoder;
use rpo_nn::Place;
use rpo_pretrain::score::{self, Judges};
use rpo_pretrain::vae;
use std::path::{Path, PathBuf};

fn micro(part: &str) -> PathBuf {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/micro");
    model.join(part)
}

#[test]
fn true_renders_are_named_and_others_are_not() {
    // Each noun once: the second of its pictures, with a colour, and the fourth, with an accessory, in turn.
    let all = score::captions();
    let of_noun = all.chunks(score::PER_NOUN).enumerate();
    let captions: Vec<_> = of_noun.map(|(i, of)| of[1 + i % 2 * 2].clone()).collect();
    assert_eq!(captions.len(), 76);
    assert!(captions.iter().any(|c| c.colour.is_some()));
    assert!(captions.iter().any(|c| c.accessory.is_some()));
    let place = Place::default();
    let clip = DualEncoder::load(&micro("eval_clip"), &place).unwrap();
    let vit = VitEncoder::load(&micro("eval_dino"), &place).unwrap();
    let judges = Judges::new(clip, vit, captions.clone()).unwrap();

    let mut pictures = score::renders(&captions, "test");
    let truth = judges.score(&pictures).unwrap();
    let named = [truth.noun, truth.scene, truth.colour, truth.accessory];
    assert!(named.iter().all(|p| p.part >= 0.8), "{truth:?}");
    // All of these stickers are tinted or wear something: features sensitive to looks find fewer of their nouns.
    assert!(truth.noun_without_text.part >= 0.3, "{truth:?}");
    assert!(truth.clip_t > 0.25, "{truth:?}");

    assert!(judges.score(&pictures[1..]).is_err());
    pictures.rotate_left(1);
    let other = judges.score(&pictures).unwrap();
    assert!(
        other.noun.part <= 0.2 && other.noun_without_text.part <= 0.2,
        "{other:?}"
    );
    assert!(
        other.scene.part <= 0.4 && other.clip_t < truth.clip_t / 2.,
        "{other:?}"
    );
}

#[test]
fn the_vae_keeps_the_subject() {
    let found = vae::round_trips(&Pipeline::load(&micro("")).unwrap()).unwrap();
    assert_eq!(found.quickstart.len(), 5);
    assert!(found.mean > 28. && found.worst_tenth > 22., "{found:?}");
    assert!(found.quickstart.iter().all(|&x| x > 21.), "{found:?}");
}
