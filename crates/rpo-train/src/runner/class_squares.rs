//! The given pictures of a class that a cell trains on.

use super::class_folders::{ClassPicture, GivenClass, limit};
use super::setup::Setup;
use anyhow::{Context, Result};
use image::RgbImage;
use rpo_data::{picture, subject};
use rpo_experiment::plan::{Cell, class_pictures};
use rpo_files::failure::{BadInput, OrBadInput};

/// A square with its caption.
pub(super) type Square = (RgbImage, Option<String>);

/// The centre squares of the given pictures that a cell trains on, at the model's size, and their captions; `None` if its class's
/// pictures are drawn. Those of cells that read none are none.
///
/// # Errors
/// [`BadInput`] if a picture is not the one that the run began with.
pub(super) fn squares(setup: &Setup, cell: &Cell) -> Result<Option<Vec<Square>>> {
    let Some(given) = &setup.classes[cell.subject] else {
        return Ok(None);
    };
    let most = class_pictures(&setup.arm(cell).recipe).min(given.pictures.len());
    let mut squares = Vec::with_capacity(most);
    if most == 0 {
        return Ok(Some(squares));
    }
    let listed = subject::ClassFolder::look(&given.path).or_bad_input(&given.key)?;
    let mut known = given.pictures.iter();
    listed.read(most, limit(setup), &mut |read| {
        let known = known.next().context("more pictures than before")?;
        if ClassPicture::from(&read) != *known {
            return Err(changed(given, &format!("{} is another", known.file)));
        }
        squares.push((
            picture::center_square(&read.picture, setup.size),
            read.caption,
        ));
        Ok(())
    })?;
    if squares.len() < most {
        let left = format!("{} of {most} pictures are left", squares.len());
        return Err(changed(given, &left));
    }
    Ok(Some(squares))
}

fn changed(given: &GivenClass, what: &str) -> anyhow::Error {
    BadInput::new(format!(
        "{}: {what} in {} since the run began\n  hint: put the pictures back, or start the command again, which is then another run",
        given.key,
        given.path.display()
    ))
}
