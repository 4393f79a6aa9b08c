//! Masks of photos: a grey picture beside a photo, or the photo's own transparency.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use image::{DynamicImage, GrayImage};

use super::PhotoMask;
use super::listing::{MASK, name};
use crate::picture::{self, Limit, Loaded, shown};

const HINT: &str =
    "a mask is a grey picture without transparency, white where the subject is, black elsewhere";

/// The mask of a photo: `a.mask.png` or `a.jpg.mask.png` for `a.jpg`, of any form that is read; else its transparency.
///
/// # Errors
/// Two files for one photo; one that cannot be read, has colours or transparency, or another size than the photo; by path.
pub(super) fn of_photo(
    photo: &Path,
    loaded: &Loaded,
    masks: &[PathBuf],
    limit: Limit,
) -> Result<Option<PhotoMask>> {
    let mut own = masks.iter().filter(|mask| belongs(mask, photo));
    let Some(mask) = own.next() else {
        return Ok(loaded.alpha.as_ref().map(|alpha| PhotoMask {
            picture: alpha.clone(),
            file: name(photo),
        }));
    };
    if let Some(other) = own.next() {
        bail!(
            "{} has two masks, {} and {}\n  hint: remove one of them",
            shown(photo),
            name(mask),
            name(other)
        );
    }
    Ok(Some(PhotoMask {
        picture: fitted(read_grey(mask, limit)?, mask, photo, loaded)?,
        file: name(mask),
    }))
}

/// Those that belong to no photo, as they are told.
pub(super) fn without_photo(masks: &[PathBuf], photos: &[PathBuf]) -> Vec<String> {
    let of_none = |mask: &&PathBuf| !photos.iter().any(|photo| belongs(mask, photo));
    let told = |mask: &PathBuf| format!("{} (a mask without its photo)", name(mask));
    masks.iter().filter(of_none).map(told).collect()
}

fn belongs(mask: &Path, photo: &Path) -> bool {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned());
    let Some(named) = text(mask.file_stem()) else {
        return false;
    };
    let Some(named) = named.get(..named.len().saturating_sub(MASK.len())) else {
        return false;
    };
    let names = [text(photo.file_stem()), text(photo.file_name())];
    names.iter().flatten().any(|name| name == named)
}

fn read_grey(mask: &Path, limit: Limit) -> Result<GrayImage> {
    let found = picture::read(mask, limit)?;
    if found.alpha.is_some() {
        bail!("the mask {} is transparent\n  hint: {HINT}", shown(mask));
    }
    let (width, height) = found.picture.dimensions();
    let mut values = Vec::with_capacity(width as usize * height as usize);
    for pixel in found.picture.pixels() {
        let [red, green, blue] = pixel.0;
        if red != green || red != blue {
            bail!(
                "the mask {} is not grey: it has the colour ({red}, {green}, {blue})\n  hint: {HINT}",
                shown(mask)
            );
        }
        values.push(red);
    }
    Ok(GrayImage::from_raw(width, height, values).unwrap_or_default())
}

/// The mask of the photo as it is shown. One made on the pixels as they are stored, before the photo's turn by a quarter, is turned
/// with it; where both fit, the mask is that of the photo as it is shown.
fn fitted(grey: GrayImage, mask: &Path, photo: &Path, loaded: &Loaded) -> Result<GrayImage> {
    let (width, height) = loaded.picture.dimensions();
    if grey.dimensions() == (width, height) {
        return Ok(grey);
    }
    let own = grey.dimensions();
    let mut turned = DynamicImage::ImageLuma8(grey);
    turned.apply_orientation(loaded.turn);
    match turned {
        DynamicImage::ImageLuma8(grey) if grey.dimensions() == (width, height) => Ok(grey),
        _ => bail!(
            "the mask {} has {} x {} pixels, its photo {} {width} x {height}\n  hint: save the mask at the photo's size",
            shown(mask),
            own.0,
            own.1,
            shown(photo)
        ),
    }
}
