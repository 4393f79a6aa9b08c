//! The prompts of DreamBench and the training prompts of RPO, from `prompts/dreambench.*.jsonl` of this crate.
//!
//! Test prompts and classes: the DreamBooth dataset (Ruiz, Li, Jampani, Pritch, Rubinstein, Aberman, *DreamBooth*, CVPR 2023;
//! <https://github.com/google/dreambooth>, file `dataset/prompts_and_classes.txt`, CC-BY 4.0), wording unchanged; their kinds are
//! those of the paper: recontextualisation, accessories and properties.
//! Training prompts: Miao et al., *Subject-driven Text-to-Image Generation via Preference-based Reinforcement Learning*,
//! NeurIPS 2024, wording unchanged; their kinds are this project's.
//! Validation prompts: this project's own, in DreamBench's style, with no place, prop, outfit or colour of the training or test
//! prompts. The paper and its code have none and validate on the training prompts; a recipe that does so uses
//! [`PromptSet::train`].

use super::set::PromptSet;

/// DreamBench's prompts for objects or living subjects: 25 for the test and 8 for training, and this project's 8 held-out
/// ones for validation. The sets share no prompt.
pub fn dreambench(live: bool) -> PromptSet {
    PromptSet::benchmark("dreambench", live)
}

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
