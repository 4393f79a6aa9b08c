//! How many pictures a recipe reads besides the photos.

use rpo_pref::Recipe;

/// Negatives a training prompt that a recipe reads; 0 without a preference loss.
pub fn negatives_per_prompt(recipe: &Recipe) -> usize {
    if recipe.l_pref_weight > 0.0 {
        recipe.negatives_per_prompt
    } else {
        0
    }
}

/// Class pictures that a recipe reads; 0 without prior preservation.
pub fn class_pictures(recipe: &Recipe) -> usize {
    if recipe.prior_weight > 0.0 {
        recipe.class_pictures
    } else {
        0
    }
}
