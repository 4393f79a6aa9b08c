//! How many pictures a recipe needs besides the photos.

use rpo_pref::Recipe;
use rpo_pref::terms::{Network, Rows};

/// Whether a term of the recipe's objective reads some of these rows.
fn reads(recipe: &Recipe, rows: &[Rows]) -> bool {
    let objective = recipe.objective();
    let networks = [Network::Trained, Network::Frozen];
    let mut read = networks.into_iter().flat_map(|n| objective.rows(n));
    read.any(|r| rows.contains(&r))
}

/// Negatives per training prompt; 0 if no term reads them or their prompts.
pub fn negatives_per_prompt(recipe: &Recipe) -> usize {
    if reads(recipe, &[Rows::ReferenceMod, Rows::Generated]) {
        recipe.negatives_per_prompt
    } else {
        0
    }
}

/// Class pictures; 0 if no term reads them.
pub fn class_pictures(recipe: &Recipe) -> usize {
    if reads(recipe, &[Rows::Class]) {
        recipe.class_pictures
    } else {
        0
    }
}

/// Pictures per training prompt that the trained model draws in a round; 0 without rounds.
pub fn own_per_prompt(recipe: &Recipe) -> usize {
    if recipe.rounds > 0 {
        recipe.negatives_per_prompt
    } else {
        0
    }
}
