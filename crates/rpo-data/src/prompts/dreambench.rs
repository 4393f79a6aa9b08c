//! The prompts of DreamBench and the training prompts of RPO.
//!
//! Test prompts and classes: the DreamBooth dataset (Ruiz, Li, Jampani, Pritch, Rubinstein, Aberman, *DreamBooth*, CVPR 2023;
//! <https://github.com/google/dreambooth>, file `dataset/prompts_and_classes.txt`, CC-BY 4.0), wording unchanged.
//! Training prompts: Miao et al., *Subject-driven Text-to-Image Generation via Preference-based Reinforcement Learning*,
//! NeurIPS 2024, wording unchanged.
//! Validation prompts: this project's own, in DreamBench's style. The paper and its code have none and validate on the
//! training prompts; a recipe that does so uses [`PromptSet::train`].

use super::PromptSet;

/// DreamBench's prompts for objects or living subjects: 25 for the test and 8 for training, and this project's 8 held-out
/// ones for validation. The sets share no prompt.
pub fn dreambench(live: bool) -> PromptSet {
    let own = |prompts: &[&str]| prompts.iter().map(|p| p.to_string()).collect::<Vec<_>>();
    let (train, validation, test) = if live {
        (&LIVE_TRAIN, &LIVE_VALIDATION, &LIVE_TEST)
    } else {
        (&OBJECT_TRAIN, &OBJECT_VALIDATION, &OBJECT_TEST)
    };
    PromptSet {
        train: own(train),
        validation: own(validation),
        test: own(test),
    }
}

/// The 8 training prompts of objects.
pub const OBJECT_TRAIN: [&str; 8] = [
    "a {} in Vincent Van Gogh rendition",
    "a {} on the Moon",
    "a green {}",
    "a {} with a China Great Wall in the background",
    "a {} on top of wooden roof",
    "a {} with the Statue of Liberty in the background",
    "a {} with a volcano in the background",
    "a {} on a subway platform",
];

/// The 8 training prompts of living subjects.
pub const LIVE_TRAIN: [&str; 8] = [
    "a {} wearing a green outfit",
    "a {} in Vincent Van Gogh rendition",
    "a {} with a China Great Wall in the background",
    "a {} is swimming in a pool",
    "a {} on a subway platform",
    "a {} with the Statue of Liberty in the background",
    "a {} on the Moon",
    "a green {}",
];

/// 8 validation prompts of objects, this project's own: no place, prop or colour of the training or test prompts.
pub const OBJECT_VALIDATION: [&str; 8] = [
    "a {} in the desert",
    "a {} on a park bench",
    "a {} on top of a stack of books",
    "a {} in a bathtub full of bubbles",
    "a {} with the Golden Gate Bridge in the background",
    "a {} with a waterfall in the background",
    "an orange {}",
    "a golden {}",
];

/// 8 validation prompts of living subjects, this project's own: no place, outfit or colour of the training or test prompts.
pub const LIVE_VALIDATION: [&str; 8] = [
    "a {} in the desert",
    "a {} on a park bench",
    "a {} with the Golden Gate Bridge in the background",
    "a {} with a waterfall in the background",
    "a {} wearing an orange raincoat",
    "a {} wearing a flower crown",
    "a {} in an astronaut outfit",
    "a golden {}",
];

/// The 25 test prompts of objects.
pub const OBJECT_TEST: [&str; 25] = [
    "a {} in the jungle",
    "a {} in the snow",
    "a {} on the beach",
    "a {} on a cobblestone street",
    "a {} on top of pink fabric",
    "a {} on top of a wooden floor",
    "a {} with a city in the background",
    "a {} with a mountain in the background",
    "a {} with a blue house in the background",
    "a {} on top of a purple rug in a forest",
    "a {} with a wheat field in the background",
    "a {} with a tree and autumn leaves in the background",
    "a {} with the Eiffel Tower in the background",
    "a {} floating on top of water",
    "a {} floating in an ocean of milk",
    "a {} on top of green grass with sunflowers around it",
    "a {} on top of a mirror",
    "a {} on top of the sidewalk in a crowded street",
    "a {} on top of a dirt road",
    "a {} on top of a white rug",
    "a red {}",
    "a purple {}",
    "a shiny {}",
    "a wet {}",
    "a cube shaped {}",
];

/// The 25 test prompts of living subjects.
pub const LIVE_TEST: [&str; 25] = [
    "a {} in the jungle",
    "a {} in the snow",
    "a {} on the beach",
    "a {} on a cobblestone street",
    "a {} on top of pink fabric",
    "a {} on top of a wooden floor",
    "a {} with a city in the background",
    "a {} with a mountain in the background",
    "a {} with a blue house in the background",
    "a {} on top of a purple rug in a forest",
    "a {} wearing a red hat",
    "a {} wearing a santa hat",
    "a {} wearing a rainbow scarf",
    "a {} wearing a black top hat and a monocle",
    "a {} in a chef outfit",
    "a {} in a firefighter outfit",
    "a {} in a police outfit",
    "a {} wearing pink glasses",
    "a {} wearing a yellow shirt",
    "a {} in a purple wizard outfit",
    "a red {}",
    "a purple {}",
    "a shiny {}",
    "a wet {}",
    "a cube shaped {}",
];

/// The 30 subjects of DreamBench with their classes, in the dataset's order.
pub const SUBJECTS: [(&str, &str); 30] = [
    ("backpack", "backpack"),
    ("backpack_dog", "backpack"),
    ("bear_plushie", "stuffed animal"),
    ("berry_bowl", "bowl"),
    ("can", "can"),
    ("candle", "candle"),
    ("cat", "cat"),
    ("cat2", "cat"),
    ("clock", "clock"),
    ("colorful_sneaker", "sneaker"),
    ("dog", "dog"),
    ("dog2", "dog"),
    ("dog3", "dog"),
    ("dog5", "dog"),
    ("dog6", "dog"),
    ("dog7", "dog"),
    ("dog8", "dog"),
    ("duck_toy", "toy"),
    ("fancy_boot", "boot"),
    ("grey_sloth_plushie", "stuffed animal"),
    ("monster_toy", "toy"),
    ("pink_sunglasses", "glasses"),
    ("poop_emoji", "toy"),
    ("rc_car", "toy"),
    ("red_cartoon", "cartoon"),
    ("robot_toy", "toy"),
    ("shiny_sneaker", "sneaker"),
    ("teapot", "teapot"),
    ("vase", "vase"),
    ("wolf_plushie", "stuffed animal"),
];
