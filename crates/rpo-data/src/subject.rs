//! A subject: a few photos of it, its class, and the token that stands for it.

mod folder;

use image::RgbImage;

pub use folder::{Found, list, load_folder, look};

/// A subject to learn.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name in results and folders, e.g. "dog6".
    pub name: String,
    /// Its class word in prompts, e.g. "dog".
    pub class: String,
    /// The rare token that stands for it in prompts, e.g. `[V]`.
    pub token: String,
    /// Whether DreamBench's prompts for living subjects apply.
    pub live: bool,
    /// Its photos, sorted by name; never empty when it comes from [`load_folder`].
    pub references: Vec<Reference>,
}

/// One photo of a subject.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The file's name without extension, e.g. "00".
    pub name: String,
    /// The whole photo, uncropped.
    pub picture: RgbImage,
    /// The text beside the photo (`00.txt`), if any; without one the prompt of the class is used.
    pub caption: Option<String>,
}

/// Whether a class names an animal, so that "wearing a red hat" makes sense. DreamBench's living subjects are dogs and cats;
/// the rest of the list is for users' own folders.
pub fn is_live(class: &str) -> bool {
    const ANIMALS: [&str; 41] = [
        "alpaca",
        "bear",
        "bee",
        "bird",
        "bunny",
        "butterfly",
        "camel",
        "cat",
        "chicken",
        "cow",
        "crab",
        "dog",
        "dolphin",
        "duck",
        "elephant",
        "fish",
        "fox",
        "frog",
        "goat",
        "hamster",
        "horse",
        "kitten",
        "koala",
        "ladybug",
        "lion",
        "monkey",
        "mouse",
        "octopus",
        "owl",
        "panda",
        "parrot",
        "penguin",
        "pig",
        "puppy",
        "rabbit",
        "sheep",
        "tiger",
        "tortoise",
        "turtle",
        "unicorn",
        "wolf",
    ];
    ANIMALS.contains(&class.trim().to_lowercase().as_str())
}
