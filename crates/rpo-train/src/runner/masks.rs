//! The masks of references: that they are there where a recipe needs them, and what of them the latents' cells show.

use anyhow::{Result, bail};
use rpo_data::mask::Mask;
use rpo_data::picture::{shorter_at, square_box};
use rpo_data::subject::{Reference, Subject};
use rpo_experiment::Layers;
use rpo_experiment::plan::Plan;
use rpo_pref::Recipe;
use rpo_pref::recipe::Crop;

/// Checks the references of every arm with `masked`, as far as it can be without a model.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] at the arm's key, with the photo.
pub fn present(plan: &Plan, subjects: &[Subject], layers: &Layers) -> Result<()> {
    for (key, _) in masked(plan) {
        for reference in subjects.iter().flat_map(|s| &s.references) {
            whole(reference).map_err(|e| layers.error(&key, &e.to_string()))?;
        }
    }
    Ok(())
}

/// Checks that what each arm trains on shows something of every mask; `size` is the side of the model's pictures, `cells` that of their
/// latents.
///
/// # Errors
/// As [`present`].
pub fn check(
    plan: &Plan,
    subjects: &[Subject],
    size: u32,
    cells: usize,
    layers: &Layers,
) -> Result<()> {
    for (key, recipe) in masked(plan) {
        for subject in subjects {
            read(recipe, subject, size, cells).map_err(|e| layers.error(&key, &e.to_string()))?;
        }
    }
    Ok(())
}

/// Adds to the hash of a run's inputs what only its masks tell.
pub fn hash(plan: &Plan, subject: &Subject, inputs: &mut blake3::Hasher) {
    if masked(plan).next().is_some() {
        for mask in subject.references.iter().filter_map(|r| r.mask.as_ref()) {
            inputs.update(mask.picture.as_raw());
        }
    }
}

/// Whether the squares that a recipe trains on are drawn anew in every step.
pub fn crops_at_random(recipe: &Recipe, subject: &Subject, size: u32) -> bool {
    let is_square = |r: &Reference| {
        let (width, height) = r.picture.dimensions();
        let (width, height) = shorter_at(width, height, size);
        width == height
    };
    recipe.crop == Crop::Random && !subject.references.iter().all(is_square)
}

/// The masks of a subject's references, none without `masked`: at the latents' cells, or, where squares are drawn, at the pixels of the
/// pictures that they are drawn from.
///
/// # Errors
/// A reference without a mask, or of whose mask some square shows nothing; by its file.
pub fn read(recipe: &Recipe, subject: &Subject, size: u32, cells: usize) -> Result<Vec<Mask>> {
    if !recipe.masked {
        return Ok(Vec::new());
    }
    let random = crops_at_random(recipe, subject, size);
    let one = |reference: &Reference| {
        let mask = whole(reference)?;
        let (width, height) = reference.picture.dimensions();
        if random {
            let (columns, rows) = shorter_at(width, height, size);
            let all = [0.0, 0.0, f64::from(width), f64::from(height)];
            let mask = mask.area(all, columns as usize, rows as usize);
            if !mask.is_in_every_square() {
                bail!(
                    "{}: a random square can show nothing of its mask\n  hint: crop the photo around the subject, or recipe.crop = \"centre\"",
                    reference.file
                );
            }
            return Ok(mask);
        }
        let (x, y, side) = square_box(width, height, 0.5, 0.5);
        let mask = mask.area([x, y, side, side].map(f64::from), cells, cells);
        if mask.is_empty() {
            bail!(
                "{}: its centre square shows nothing of its mask\n  hint: crop the photo around the subject",
                reference.file
            );
        }
        Ok(mask)
    };
    subject.references.iter().map(one).collect()
}

/// What a drawn square shows of a mask at the pixels of its picture, at the latents' cells.
pub fn in_square(mask: &Mask, (across, down): (f64, f64), cells: usize) -> Mask {
    let (width, height) = mask.dimensions();
    let (x, y, side) = square_box(width as u32, height as u32, across, down);
    mask.area([x, y, side, side].map(f64::from), cells, cells)
}

/// The mask of a photo, of its size.
fn whole(reference: &Reference) -> Result<Mask> {
    let Some(mask) = &reference.mask else {
        bail!(
            "{} has no mask\n  hint: a grey picture {}.mask.png beside it, white where the subject is, or a photo with a transparent background",
            reference.file,
            reference.name
        )
    };
    let found = Mask::of(&mask.picture);
    if found.is_empty() {
        bail!(
            "{}: its mask, {}, shows no subject: it is black everywhere\n  hint: white where the subject is",
            reference.file,
            match mask.file == reference.file {
                true => "its transparency",
                false => &mask.file,
            }
        );
    }
    Ok(found)
}

/// The arms with `masked`, by the key that sets it.
fn masked(plan: &Plan) -> impl Iterator<Item = (String, &Recipe)> {
    let arms = plan.arms.iter().enumerate();
    arms.filter(|(_, arm)| arm.recipe.masked).map(|(i, arm)| {
        let own = plan.experiment.arms.get(i);
        let key = match own.is_some_and(|own| own.recipe.contains_key("masked")) {
            true => format!("arm.{i}.recipe.masked"),
            false => "recipe.masked".to_owned(),
        };
        (key, &arm.recipe)
    })
}
