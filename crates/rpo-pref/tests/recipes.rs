//! The recipes, key by key, and how an experiment file changes them.

use rpo_pref::recipe::{
    Augment, Crop, Latent, Passes, Recipe, RecipeKeys, ReferencePrompt, Sharing, TokenInReward,
    ValidationNoise, ValidationPrompts,
};
use rpo_pref::{LabelKind, LabelReward, Norm, Pairs, Preset};

#[test]
fn paper_and_official_row_by_row() {
    let (paper, official) = (Recipe::paper(), Recipe::official());
    assert_eq!((paper.norm, official.norm), (Norm::Sum, Norm::Mean));
    assert_eq!(
        (paper.reference_prompt, official.reference_prompt),
        (ReferencePrompt::CMod, ReferencePrompt::C)
    );
    assert_eq!(
        (paper.pair_timestep, official.pair_timestep),
        (Sharing::Shared, Sharing::Independent)
    );
    assert_eq!(
        (paper.pair_noise, official.pair_noise),
        (Sharing::Independent, Sharing::Independent)
    );
    assert_eq!(
        (paper.pairs, official.pairs),
        (Pairs::Uniform, Pairs::Official)
    );
    assert_eq!(
        (paper.label_reward, official.label_reward),
        (LabelReward::Pair, LabelReward::FirstOfPrompt)
    );
    assert_eq!(
        (paper.negatives_per_prompt, official.negatives_per_prompt),
        (4, 16)
    );
    assert_eq!(
        (paper.clip_grad_norm, official.clip_grad_norm),
        (Some(1.0), None)
    );
    assert_eq!(
        (paper.token_in_reward, official.token_in_reward),
        (TokenInReward::Remove, TokenInReward::Keep)
    );
    assert_eq!((paper.crop, official.crop), (Crop::Centre, Crop::Random));
    assert_eq!(
        (paper.latent, official.latent),
        (Latent::Mean, Latent::Sample)
    );
    assert_eq!(
        (paper.validation_noise, official.validation_noise),
        (ValidationNoise::Fixed, ValidationNoise::Fresh)
    );
    for recipe in [&paper, &official] {
        assert_eq!(recipe.validation_prompts, ValidationPrompts::Training);
        assert_eq!(
            (recipe.beta, recipe.tau, recipe.label),
            (1.0, 1.0, LabelKind::Sampled)
        );
        assert_eq!(
            (
                recipe.lambda_train,
                recipe.l_sim_weight,
                recipe.l_pref_weight
            ),
            (0.0, 1.0, 1.0)
        );
        assert_eq!(recipe.prior_weight, 0.0);
    }
    assert_eq!(
        paper.passes(),
        Passes {
            trainable: 3,
            frozen: 2
        }
    );
    assert_eq!(
        official.passes(),
        Passes {
            trainable: 2,
            frozen: 2
        }
    );
}

#[test]
fn the_sdxl_script_shares_time_and_noise_and_clips() {
    let (xl, official) = (Recipe::official_sdxl(), Recipe::official());
    assert_eq!(
        (xl.pair_timestep, xl.pair_noise),
        (Sharing::Shared, Sharing::Shared)
    );
    assert_eq!((xl.negatives_per_prompt, xl.clip_grad_norm), (4, Some(1.0)));
    assert_eq!(xl.label_reward, LabelReward::Pair);
    assert_eq!(xl.passes(), official.passes());
    assert_eq!(
        (xl.norm, xl.pairs, xl.latent),
        (official.norm, official.pairs, official.latent)
    );
    assert!(xl.check().is_ok());
}

#[test]
fn dreambooth_has_a_prior_and_no_preference() {
    let recipe = Recipe::dreambooth();
    assert_eq!(
        (
            recipe.l_sim_weight,
            recipe.l_pref_weight,
            recipe.prior_weight
        ),
        (1.0, 0.0, 1.0)
    );
    assert!(recipe.class_pictures > 0);
    assert_eq!(
        recipe.passes(),
        Passes {
            trainable: 2,
            frozen: 0
        }
    );
    assert_eq!(recipe.class_prompt.of("teapot"), "a photo of a teapot");
    assert_eq!(recipe.instance_prompt.of("[V] dog"), "a photo of [V] dog");
}

#[test]
fn the_prompts_of_custom_diffusion_are_those_of_its_example() {
    let recipe = Recipe::custom_diffusion();
    assert_eq!(recipe.instance_prompt.of("[V] dog"), "photo of a [V] dog");
    assert_eq!(recipe.class_prompt.of("dog"), "dog");
    let usual = "preset = \"custom_diffusion\"\nclass_prompt = \"a photo of a {}\"";
    let usual = toml::from_str::<RecipeKeys>(usual).unwrap();
    assert_eq!(
        usual.resolve().unwrap().describe(Preset::CustomDiffusion),
        "custom_diffusion, class_prompt = \"a photo of a {}\""
    );
}

#[test]
fn every_preset_passes_its_own_check_and_survives_a_file() {
    for preset in Preset::ALL {
        let recipe = preset.recipe();
        recipe.check().unwrap();
        let text = toml::to_string(&recipe).unwrap();
        assert_eq!(toml::from_str::<Recipe>(&text).unwrap(), recipe, "{text}");
        assert_eq!(recipe.describe(preset), preset.name());
        assert_eq!(
            toml::from_str::<RecipeKeys>(&format!("preset = \"{preset}\""))
                .unwrap()
                .resolve()
                .unwrap(),
            recipe
        );
        assert_eq!(RecipeKeys::from(preset).resolve().unwrap(), recipe);
    }
    assert!(
        toml::to_string(&Recipe::official())
            .unwrap()
            .contains("clip_grad_norm = \"none\"")
    );
}

#[test]
fn presets_of_methods_have_their_own_ways() {
    let with = |preset: Preset| {
        (
            preset.recipe().reward_guidance,
            preset.recipe().detach_first_token,
        )
    };
    for preset in Preset::ALL {
        let wanted = match preset {
            Preset::Dco => (Some(3.0), false),
            Preset::CustomDiffusion => (None, true),
            _ => (None, false),
        };
        assert_eq!(with(preset), wanted, "{preset}");
    }
    let keys = "preset = \"dco\"\nreward_guidance = \"none\"";
    let keys: RecipeKeys = toml::from_str(keys).unwrap();
    let plain = keys.resolve().unwrap();
    assert_eq!(plain.reward_guidance, None);
    assert_eq!(plain.describe(Preset::Dco), "dco, no reward_guidance");
}

#[test]
fn a_file_changes_single_keys() {
    let keys: RecipeKeys = toml::from_str(
        "preset = \"paper\"\nnorm = \"mean\"\nbeta = 2\nclip_grad_norm = \"none\"\n",
    )
    .unwrap();
    let recipe = keys.resolve().unwrap();
    assert_eq!(
        recipe,
        Recipe {
            norm: Norm::Mean,
            beta: 2.0,
            clip_grad_norm: None,
            ..Recipe::paper()
        }
    );
    assert_eq!(
        recipe.describe(Preset::Paper),
        "paper, beta = 2.0, clip_grad_norm = \"none\", norm = \"mean\""
    );
}

#[test]
fn keys_that_older_records_lack_are_written_only_where_they_are_used() {
    let text = toml::to_string(&Recipe::paper()).unwrap();
    for key in [
        "flip",
        "snr",
        "instance",
        "class_prompt",
        "preservation",
        "consistency",
        "weak_denoising",
        "contrastive",
        "masked",
        "augment",
        "reward_guidance",
        "detach_first_token",
        "rounds",
        "angle",
    ] {
        assert!(!text.contains(key), "{key}: {text}");
    }
    let keys = "preset = \"ours\"\nflip = true\nmin_snr_gamma = 5\n";
    let recipe = toml::from_str::<RecipeKeys>(keys).unwrap();
    let recipe = recipe.resolve().unwrap();
    assert_eq!(
        recipe.describe(Preset::Ours),
        "ours, flip = true, min_snr_gamma = 5.0"
    );
    let again = toml::from_str::<Recipe>(&toml::to_string(&recipe).unwrap());
    assert_eq!(again.unwrap(), recipe);
    let none = toml::from_str::<RecipeKeys>("preset = \"ours\"\nmin_snr_gamma = \"none\"");
    assert_eq!(none.unwrap().resolve().unwrap(), Recipe::ours());
}

#[test]
fn mistakes_are_named() {
    for (text, expected) in [
        ("bete = 1", "unknown field `bete`"),
        ("min_snr_gamma = \"some\"", "number or"),
        ("norm = \"median\"", "unknown variant `median`"),
        ("clip_grad_norm = \"off\"", "expected a number or \"none\""),
    ] {
        let error = toml::from_str::<RecipeKeys>(&format!("preset = \"paper\"\n{text}"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(expected) && error.contains("line 2"),
            "{error}"
        );
    }
    for (text, key) in [
        ("beta = 0", "beta = 0"),
        ("beta = nan", "beta = NaN"),
        ("tau = -1", "tau = -1"),
        ("lambda_train = 1.5", "lambda_train = 1.5"),
        ("clip_grad_norm = 0", "clip_grad_norm = 0"),
        ("l_pref_weight = -1", "l_pref_weight = -1"),
        ("negatives_per_prompt = 0", "negatives_per_prompt = 0"),
        ("reward_guidance = 0", "reward_guidance = 0"),
        ("reward_guidance = 101", "reward_guidance = 101"),
        ("prior_weight = 1", "class_pictures = 0"),
        ("l_sim_weight = 0\nl_pref_weight = 0", "l_sim_weight = 0"),
    ] {
        let keys: RecipeKeys = toml::from_str(&format!("preset = \"paper\"\n{text}")).unwrap();
        let error = keys.resolve().unwrap_err().to_string();
        assert!(error.starts_with(key), "{error}");
    }
}

#[test]
fn a_mask_is_of_l_sim_alone() {
    let resolved = |preset: &str, text: &str| {
        let keys = format!("preset = \"{preset}\"\n{text}");
        toml::from_str::<RecipeKeys>(&keys).unwrap().resolve()
    };
    let masked = resolved("dreambooth", "masked = true").unwrap();
    assert_eq!(
        masked.describe(Preset::Dreambooth),
        "dreambooth, masked = true"
    );
    let augmented = resolved(
        "dreambooth",
        "augment = \"custom_diffusion\"\nl_sim_weight = 4",
    );
    assert_eq!(augmented.unwrap().augment, Augment::CustomDiffusion);
    let none = resolved("ours", "masked = false\naugment = \"none\"");
    assert_eq!(none.unwrap(), Recipe::ours());
    for (preset, text, allowed) in [
        // Preferences under c_mod have a pass of their own, those under c share that of L_sim.
        ("paper", "masked = true", true),
        ("ours", "masked = true", false),
        ("official", "masked = true", false),
        ("ours", "masked = true\nreference_prompt = \"c_mod\"", true),
        ("ours", "masked = true\nl_pref_weight = 0", true),
        ("dpo", "masked = true", false),
        ("dco", "masked = true", false),
        ("dco", "masked = true\nl_sim_weight = 1", false),
        ("dreambooth", "masked = true\npreservation_weight = 1", true),
        ("dreambooth", "masked = true\nconsistency_weight = 1", false),
        ("paper", "augment = \"custom_diffusion\"", false),
        ("ours", "augment = \"custom_diffusion\"", false),
        (
            "dreambooth",
            "augment = \"custom_diffusion\"\nconsistency_weight = 1",
            false,
        ),
        (
            "dreambooth",
            "augment = \"custom_diffusion\"\nmasked = true",
            false,
        ),
        (
            "dreambooth",
            "augment = \"custom_diffusion\"\npreservation_weight = 1",
            true,
        ),
    ] {
        let found = resolved(preset, text);
        assert_eq!(found.is_ok(), allowed, "{preset}, {text}: {found:?}");
        if let Err(error) = found {
            let key = text.split(" =").next().unwrap();
            assert_eq!(error.key, key, "{text}: {error}");
        }
    }
    let error = toml::from_str::<RecipeKeys>("preset = \"ours\"\naugment = \"custom\"");
    let error = error.unwrap_err().to_string();
    assert!(error.contains("unknown variant `custom`"), "{error}");
}

#[test]
fn a_prompt_has_one_place_for_its_words() {
    for (text, valid) in [
        ("a {}", true),
        ("{}", true),
        ("a photo", false),
        ("{} {}", false),
        ("{token} {}", false),
        ("a {\n}", false),
    ] {
        let text = format!("preset = \"ours\"\ninstance_prompt = {text:?}");
        let keys: RecipeKeys = toml::from_str(&text).unwrap();
        assert_eq!(keys.resolve().is_ok(), valid, "{text}");
    }
}
