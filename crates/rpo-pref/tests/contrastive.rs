//! DisenBooth's terms: the cosine with its slopes, and what the objective makes of them.

use rpo_pref::loss::cosine;
use rpo_pref::recipe::{Latent, Passes, Recipe, RecipeKeys};
use rpo_pref::terms::{Errors, Network, Rows};
use rpo_pref::{Norm, Preset};

/// Two vectors, their cosine, and its gradient in the second one.
type Case = (&'static [f64], &'static [f64], f64, &'static [f64]);

/// As `scripts/golden/image_adapter.py` prints them: torch 2.15's `cosine_similarity` in f64.
const TORCH: [Case; 3] = [
    (
        &[0.3, -1.2, 0.5],
        &[0.8, 0.1, -0.4],
        -0.066_625_039_021_854_38,
        &[
            0.315_646_404_007_859_3,
            -0.991_150_271_868_326_9,
            0.383_505_240_048_636_9,
        ],
    ),
    (&[1.0, 2.0, 2.0], &[2.0, 4.0, 4.0], 1.0, &[0.0, 0.0, 0.0]),
    (
        &[1e3, 0.0, 1e-3, 2.0],
        &[-2e-3, 5.0, 1e-4, -1.0],
        -0.000_784_462_891_522_239_8,
        &[
            0.196_115_667_440_163_15,
            0.000_150_858_225_102_681_42,
            1.991_328_922_855_068_2e-7,
            0.000_362_059_810_546_370_06,
        ],
    ),
];

#[test]
fn the_cosine_and_its_slopes_are_those_of_torch() {
    for (a, b, value, slopes) in TORCH {
        let found = cosine(a, b);
        assert!((found.value - value).abs() < 1e-15, "{found:?}");
        for (found, expected) in found.slopes.iter().zip(slopes) {
            assert!((found - expected).abs() < 1e-15, "{found} {expected}");
        }
    }
}

#[test]
fn its_slopes_are_finite_differences_for_any_length() {
    let a = [0.3, -1.2, 0.5, 2.0];
    // Of length 1, very long, and shorter than 1e-8, where the length counts as 1e-8.
    for long in [1.0, 1e6, 1e-9] {
        let b = [0.5, 0.5, -0.5, 0.5].map(|x| x * long);
        let found = cosine(&a, &b);
        assert!(found.value.abs() <= 1.0);
        for i in 0..4 {
            let h = 1e-5 * long;
            let at = |by: f64| {
                let mut b = b;
                b[i] += by;
                cosine(&a, &b).value
            };
            let numeric = (at(h) - at(-h)) / (2.0 * h);
            let off = (found.slopes[i] - numeric).abs() * long;
            assert!(off < 1e-8, "{long}: {} {numeric}", found.slopes[i]);
        }
    }
    // Neither a zero nor a multiple makes it NaN.
    for (a, b) in [([0.0; 2], [1.0, 2.0]), ([1.0, 2.0], [0.0; 2])] {
        let found = cosine(&a, &b);
        assert_eq!(found.value, 0.0);
        assert!(found.slopes.iter().all(|s| s.is_finite()));
    }
}

/// The total by hand, and its slopes by finite differences, in two parts of a batch as in one.
#[test]
fn the_objective_weighs_three_terms() {
    let recipe = Recipe::disenbooth();
    let objective = recipe.objective();
    assert!(objective.reads_cosines());
    let rows = [Rows::Reference, Rows::WithoutImage];
    assert_eq!(objective.rows(Network::Trained), rows.into());
    let (with, without) = ([0.3, 0.9], [0.4, 0.2]);
    let cosines = [0.25, -0.75];
    let sum = |with: &[f64], cosines: &[f64], share: f64| {
        let mut errors = Errors::new(vec![]);
        errors.insert(Network::Trained, Rows::Reference, with.to_vec());
        errors.insert(
            Network::Trained,
            Rows::WithoutImage,
            without[..with.len()].to_vec(),
        );
        errors.cosines = cosines.to_vec();
        objective.sum(&errors, share)
    };
    let all = sum(&with, &cosines, 1.0);
    let by_hand = 0.6 + 0.01 * 0.3 + 0.001 * -0.25;
    assert!((all.total - by_hand).abs() < 1e-15, "{}", all.total);
    let terms = [
        ("contrastive", -0.25),
        ("sim", 0.6),
        ("weak_denoising", 0.3),
    ];
    for ((name, value), (found, got)) in terms.iter().zip(&all.terms) {
        assert!(
            name == found && (value - got).abs() < 1e-15,
            "{found} {got}"
        );
    }
    let slopes = [
        &all.slopes[&rows[0]],
        &all.slopes[&rows[1]],
        &all.cosine_slopes,
    ];
    for (slopes, each) in slopes.into_iter().zip([0.5, 0.005, 0.0005]) {
        assert_eq!(slopes.len(), 2);
        assert!(
            slopes.iter().all(|s| (s - each).abs() < 1e-15),
            "{slopes:?}"
        );
    }
    // One of two parts.
    let half = sum(&with[..1], &cosines[..1], 0.5);
    assert!((half.cosine_slopes[0] - all.cosine_slopes[0]).abs() < 1e-18);
    assert!((half.terms["contrastive"] - 0.125).abs() < 1e-15);
    // Without the term nothing flows back through the cosines.
    let others = Recipe {
        contrastive_weight: 0.0,
        ..recipe
    };
    assert!(!others.objective().reads_cosines());
    let mut errors = Errors::new(vec![]);
    errors.insert(Network::Trained, Rows::Reference, with.to_vec());
    errors.insert(Network::Trained, Rows::WithoutImage, without.to_vec());
    errors.cosines = cosines.to_vec();
    assert_eq!(others.objective().sum(&errors, 1.0).cosine_slopes, [0.0; 2]);
}

#[test]
fn disenbooth_is_lora_dreambooth_with_two_more_losses() {
    let recipe = Preset::Disenbooth.recipe();
    assert_eq!((recipe.norm, recipe.latent), (Norm::Mean, Latent::Sample));
    let weights = (
        recipe.l_sim_weight,
        recipe.weak_denoising_weight,
        recipe.contrastive_weight,
    );
    assert_eq!(weights, (1.0, 0.01, 0.001));
    let passes = Passes {
        trainable: 2,
        frozen: 0,
    };
    assert_eq!(recipe.passes(), passes);
    let without = Recipe {
        weak_denoising_weight: 0.0,
        contrastive_weight: 0.0,
        ..recipe
    };
    assert_eq!(without, Recipe::lora_dreambooth());
    let of = |text: &str| {
        let keys = format!("preset = \"disenbooth\"\n{text}");
        toml::from_str::<RecipeKeys>(&keys).unwrap().resolve()
    };
    let told = |text: &str| of(text).unwrap_err().to_string();
    assert!(told("contrastive_weight = -1").starts_with("contrastive_weight = -1"));
    assert!(told("weak_denoising_weight = nan").starts_with("weak_denoising_weight = NaN"));
    assert!(told("l_sim_weight = 0").starts_with("l_sim_weight = 0"));
    // A mask is of L_sim and of weak denoising, which is L_sim under another text.
    let masked = of("masked = true").unwrap();
    assert_eq!(
        masked.describe(Preset::Disenbooth),
        "disenbooth, masked = true"
    );
}
