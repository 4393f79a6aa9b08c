//! A subject: a few photos of it, its class, and the token that stands for it.

mod captions;
mod class;
mod folder;
mod listing;
mod live;
mod masks;
mod table;
mod text;

use std::path::Path;

use image::{GrayImage, RgbImage};

use crate::picture::{Loaded, Seen};
use crate::stickerbench::sticker::Look;
pub use captions::{Caption, Captions, some};
pub use class::{ClassFolder, ClassRemarks};
pub use folder::{Found, load_folder, look};
pub use listing::{Listing, list};
pub use live::is_live;
pub use table::read_table;
pub use text::read_text;

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
    /// The look of a rendered subject; photos have none.
    pub look: Option<Look>,
    /// Its photos, sorted by name; never empty when it comes from [`load_folder`].
    pub references: Vec<Reference>,
    /// What is odd about its folder and its captions.
    pub notes: Vec<String>,
    /// Names of files and folders beside the photos that nothing is read from.
    pub passed_over: Vec<String>,
}

/// One photo of a subject.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The file's name without extension, e.g. "00".
    pub name: String,
    /// The file's name, e.g. "00.jpg".
    pub file: String,
    /// The whole photo, uncropped.
    pub picture: RgbImage,
    /// What was noticed while it was read.
    pub seen: Seen,
    /// Its caption, if any (see [`Captions`]); without one the prompt of the class is used.
    pub caption: Option<String>,
    /// Name of the caption's file.
    pub caption_file: Option<String>,
    /// Which part of it is the subject, if known.
    pub mask: Option<PhotoMask>,
}

impl Reference {
    /// What was read of the photo at `path`.
    fn of(path: &Path, loaded: Loaded, caption: Option<Caption>, mask: Option<PhotoMask>) -> Self {
        let stem = path.file_stem().unwrap_or_default();
        Self {
            name: stem.to_string_lossy().into_owned(),
            file: listing::name(path),
            picture: loaded.picture,
            seen: loaded.seen,
            caption: caption.as_ref().map(|c| c.text.clone()),
            caption_file: caption.map(|c| c.file),
            mask,
        }
    }
}

/// Which part of a photo is the subject.
#[derive(Clone, Debug)]
pub struct PhotoMask {
    /// White where the subject is, of the photo's size.
    pub picture: GrayImage,
    /// Name of the file that it is from: one beside the photo, or the photo itself, whose transparency it is.
    pub file: String,
}
