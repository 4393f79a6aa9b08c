//! Which losses go with masked references.

use super::{Augment, Recipe, RecipeError};
use crate::terms::Rows;

impl Recipe {
    /// Checks that a mask has its effect on L_sim and on nothing else: terms that read the same rows share their errors.
    ///
    /// # Errors
    /// [`RecipeError`] with `masked` or `augment`.
    pub(super) fn check_masks(&self) -> Result<(), RecipeError> {
        let augmented = self.augment != Augment::None;
        let (key, value) = match (self.masked, augmented) {
            (false, false) => return Ok(()),
            (_, true) => ("augment", "\"custom_diffusion\""),
            (true, false) => ("masked", "true"),
        };
        let error = |hint| {
            Err(RecipeError {
                key,
                value: value.to_owned(),
                hint,
            })
        };
        if self.masked && augmented {
            return error("it has a mask of its own, the reference's place; leave `masked` away");
        }
        let objective = self.objective();
        let readers = objective.readers(Rows::Reference);
        if !readers.contains("sim") {
            return error("it is L_sim that a mask weighs; l_sim_weight is more than 0");
        }
        // Pictures on grey are to be learned nowhere else, under whichever prompt.
        if augmented && (readers.len() > 1 || !objective.readers(Rows::ReferenceMod).is_empty()) {
            return error(
                "other losses would learn the grey around the reference; l_pref_weight = 0 and consistency_weight = 0",
            );
        }
        if readers.len() > 1 {
            return error(
                "L_pref or the consistency loss reads the same errors, and would be masked as well; reference_prompt = \"c_mod\" gives L_pref its own, else l_pref_weight = 0, and consistency_weight = 0",
            );
        }
        Ok(())
    }
}
