//! The prompt sets of StickerBench.
//!
//! No prompt uses a reference scene, and no two sets share a scene, colour or accessory: the test contains nothing that the
//! negatives or the choice of the checkpoint have used.

use crate::prompts::PromptSet;

/// 8 training, 8 validation and 17 test prompts, with scenes, colours, accessories and pairs of these.
pub fn prompts() -> PromptSet {
    let own = |prompts: &[&str]| prompts.iter().map(|p| p.to_string()).collect::<Vec<_>>();
    PromptSet {
        train: own(&TRAIN),
        validation: own(&VALIDATION),
        test: own(&TEST),
    }
}

const TRAIN: [&str; 8] = [
    "a {token} {class} in the jungle",
    "a {token} {class} on the moon",
    "a {token} {class} in a wheat field",
    "a {token} {class} with a mountain in the background",
    "a {token} orange {class}",
    "a {token} cyan {class}",
    "a {token} {class} wearing a bow",
    "a {token} orange {class} wearing a bow in the jungle",
];

const VALIDATION: [&str; 8] = [
    "a {token} {class} in the desert",
    "a {token} {class} at night",
    "a {token} {class} with autumn leaves",
    "a {token} {class} on green grass",
    "a {token} yellow {class}",
    "a {token} green {class}",
    "a {token} {class} wearing a graduation cap",
    "a {token} yellow {class} wearing a graduation cap at night",
];

const TEST: [&str; 17] = [
    "a {token} {class} in the snow",
    "a {token} {class} on the beach",
    "a {token} {class} in a city",
    "a {token} {class} under water",
    "a {token} {class} on a purple rug",
    "a {token} {class} on a pink blanket",
    "a {token} red {class}",
    "a {token} blue {class}",
    "a {token} purple {class}",
    "a {token} pink {class}",
    "a {token} {class} wearing a top hat",
    "a {token} {class} wearing a crown",
    "a {token} {class} wearing sunglasses",
    "a {token} red {class} in the snow",
    "a {token} blue {class} in a city",
    "a {token} {class} wearing a top hat under water",
    "a {token} {class} wearing sunglasses on the beach",
];
