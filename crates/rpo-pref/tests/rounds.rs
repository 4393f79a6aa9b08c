//! When rounds begin, what their steps minimise and cost, and which of their keys are refused.

use rpo_pref::Preset;
use rpo_pref::recipe::{Passes, Recipe, RecipeKeys, Share};
use rpo_pref::terms::Rows;

#[test]
fn dreambooth_dpo_is_dreambooth_and_then_its_rounds() {
    let recipe = Recipe::dreambooth_dpo();
    assert_eq!(recipe.passes(), Recipe::dreambooth().passes());
    let two = Passes {
        trainable: 2,
        frozen: 2,
    };
    assert_eq!(recipe.round_passes(), two);
    assert_eq!(recipe.objective().readers(Rows::Generated).len(), 0);
    assert_eq!(Recipe::paper().round_passes().trainable, 0);
    let starts = |rounds, from, steps| {
        let recipe = Recipe {
            rounds,
            rounds_from: Share(from),
            ..recipe.clone()
        };
        recipe.round_starts(steps)
    };
    assert_eq!(starts(2, 0.5, 200), [100, 150]);
    assert_eq!(starts(3, 0.3, 11), [4, 6, 8]);
    assert_eq!(starts(2, 0.0, 4), [0, 2]);
    // In f64 this share of the steps is more than 55.
    assert_eq!(starts(2, 0.55, 100), [55, 77]);
    // More rounds than steps, or no step left.
    assert_eq!(starts(5, 0.5, 4), [2, 3]);
    assert_eq!(starts(2, 0.99, 10), [0; 0]);
    assert_eq!(starts(0, 0.5, 200), [0; 0]);
    for steps in 1..40 {
        for rounds in 1..6 {
            let starts = starts(rounds, 0.4, steps);
            assert!(starts.windows(2).all(|w| w[0] < w[1]), "{starts:?}");
            assert!(starts.iter().all(|start| *start < steps), "{starts:?}");
            let lengths = starts.iter().chain([&steps]).collect::<Vec<_>>();
            let lengths: Vec<usize> = lengths.windows(2).map(|w| w[1] - w[0]).collect();
            let spread = lengths.iter().max().zip(lengths.iter().min());
            assert!(
                spread.is_none_or(|(most, least)| most - least <= 1),
                "{lengths:?}"
            );
        }
    }
}

#[test]
fn keys_of_rounds_are_checked() {
    let resolved = |preset: &str, text: &str| {
        let keys = format!("preset = \"{preset}\"\n{text}");
        toml::from_str::<RecipeKeys>(&keys).unwrap().resolve()
    };
    let one = resolved("dreambooth_dpo", "rounds = 1\nangle = [10, 80]").unwrap();
    assert_eq!(
        one.describe(Preset::DreamboothDpo),
        "dreambooth_dpo, angle = [10.0,80.0], rounds = 1"
    );
    assert_eq!(resolved("dreambooth_dpo", "rounds = 0").unwrap().rounds, 0);
    assert!(resolved("ours", "rounds = 1\nrounds_from = 0").is_ok());
    for (preset, text, said) in [
        (
            "ours",
            "angle = [0, 90]",
            "angle = [0, 90]: it is of rounds",
        ),
        (
            "ours",
            "rounds_from = 0.2",
            "rounds_from = 0.2: it is of rounds",
        ),
        ("ours", "rounds = 1001", "rounds = 1001: at most"),
        (
            "dreambooth_dpo",
            "angle = [70, 20]",
            "angle = [70, 20]: two angles",
        ),
        ("dreambooth_dpo", "angle = [20, 20]", "angle = [20, 20]"),
        ("dreambooth_dpo", "angle = [-1, 20]", "angle = [-1, 20]"),
        ("dreambooth_dpo", "angle = [20, 91]", "angle = [20, 91]"),
        ("dreambooth_dpo", "angle = [nan, 70]", "angle = [NaN, 70]"),
        (
            "dreambooth_dpo",
            "rounds_from = 1",
            "rounds_from = 1: a share",
        ),
        ("dreambooth_dpo", "rounds_from = -0.1", "rounds_from = -0.1"),
        ("dreambooth_dpo", "rounds_from = nan", "rounds_from = NaN"),
        (
            "dreambooth_dpo",
            "l_pref_weight = 0",
            "rounds = 2: rounds train on L_pref",
        ),
        (
            "dreambooth",
            "rounds = 1",
            "rounds = 1: rounds train on L_pref",
        ),
        ("dpo", "rounds = 1", "l_sim_weight = 0: the steps before"),
        (
            "dreambooth_dpo",
            "negatives_per_prompt = 1",
            "negatives_per_prompt = 1: at least 2",
        ),
    ] {
        let error = resolved(preset, text).unwrap_err().to_string();
        assert!(error.starts_with(said), "{preset}, {text}: {error}");
    }
    for list in ["[20, 70, 80]", "[20]", "[]"] {
        let error = toml::from_str::<RecipeKeys>(&format!("preset = \"ours\"\nangle = {list}"));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("a window has two"), "{list}: {error}");
    }
}
