//! Pictures to input tensors, as by the image processors of transformers (Pillow backend):
//! resize, centre crop, rescale, normalise, in this order; 8-bit values after the resize, f32 after that.

use std::path::Path;

use candle_core::{Device, Result, Tensor, bail};
use image::RgbImage;
use rayon::prelude::*;
use serde::Deserialize;

pub use rpo_data::resample::{Filter, resize_rgb as resize};

use crate::folder;
use crate::limits::{LONGEST_SIDE, in_file, within};

/// The name of the file in a model folder.
const FILE: &str = "preprocessor_config.json";

/// The most pixels of a resized picture.
const LARGEST: u64 = 1 << 27;

/// The defaults for missing keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Clip,
    Vit,
    EfficientNet,
}

/// `size` and `crop_size`: a number in old files, an object in new ones.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a whole number of pixels, or an object of height and width or of shortest_edge"
)]
enum SizeEntry {
    Edge(u32),
    Fields {
        height: Option<u32>,
        width: Option<u32>,
        shortest_edge: Option<u32>,
        longest_edge: Option<u32>,
    },
}

/// One number for all channels, or one per channel.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number, or a list of three, one per channel"
)]
enum PerChannel {
    One(f32),
    Each([f32; 3]),
}

impl PerChannel {
    fn each(&self) -> [f32; 3] {
        match self {
            Self::One(value) => [*value; 3],
            Self::Each(values) => *values,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Config {
    image_processor_type: Option<String>,
    feature_extractor_type: Option<String>,
    do_resize: Option<bool>,
    size: Option<SizeEntry>,
    resample: Option<u64>,
    do_center_crop: Option<bool>,
    crop_size: Option<SizeEntry>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    rescale_offset: Option<bool>,
    do_normalize: Option<bool>,
    include_top: Option<bool>,
    image_mean: Option<PerChannel>,
    image_std: Option<PerChannel>,
}

/// How the size after resizing follows from the picture's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Exact { width: u32, height: u32 },
    ShortestEdge(u32),
}

/// Turns pictures into the input of an encoder.
#[derive(Clone)]
pub struct ImageProcessor {
    size: Option<(Size, Filter)>,
    crop: Option<(u32, u32)>,
    /// The result for every 8-bit value, per channel.
    values: Box<[[f32; 256]; 3]>,
}

impl std::fmt::Debug for ImageProcessor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageProcessor")
            .field("size", &self.size)
            .field("crop", &self.crop)
            .finish_non_exhaustive()
    }
}

impl ImageProcessor {
    /// Reads `preprocessor_config.json` of a `CLIPImageProcessor`, `ViTImageProcessor` or
    /// `EfficientNetImageProcessor` (or one of their older names: `...FeatureExtractor`, `...Fast`).
    ///
    /// # Errors
    /// A missing or malformed file, another kind of processor, an invalid resample code or size;
    /// the message names file and key.
    pub fn load(dir: &Path) -> Result<Self> {
        let config: Config = folder::read_json(dir, FILE)?;
        in_file(dir, FILE, Self::new(&config))
    }

    fn new(config: &Config) -> Result<Self> {
        let family = config.family()?;
        let size = if config.do_resize.unwrap_or(true) {
            let code = config.resample.unwrap_or(match family {
                Family::Vit => 2,
                Family::Clip | Family::EfficientNet => 3,
            });
            let Some(filter) = Filter::from_code(code) else {
                bail!(
                    "key `resample`: {code} is no Pillow filter; it must be 0 to 5 (3 is bicubic)"
                );
            };
            Some((config.size(family)?, filter))
        } else {
            None
        };
        let crop = if config.do_center_crop.unwrap_or(family == Family::Clip) {
            Some(config.crop(family)?)
        } else {
            None
        };
        Ok(Self {
            size,
            crop,
            values: config.values(family)?,
        })
    }

    /// The tensor `[B, H, W, 3]` of the pictures. Pictures of equal size give equal sizes; after a crop or an exact resize all
    /// sizes are equal.
    ///
    /// # Errors
    /// If there is no picture, a picture is empty, or sizes differ after the last step.
    pub fn preprocess(&self, pictures: &[RgbImage]) -> Result<Tensor> {
        let prepared: Result<Vec<RgbImage>> = pictures
            .par_iter()
            .map(|picture| self.resize_and_crop(picture))
            .collect();
        let prepared = prepared?;
        let Some(first) = prepared.first() else {
            bail!("no picture to preprocess");
        };
        let (width, height) = first.dimensions();
        if let Some(other) = prepared.iter().find(|p| p.dimensions() != (width, height)) {
            bail!(
                "pictures of different sizes in one batch: {width}x{height} and {}x{} after preprocessing; \
                 this processor keeps the aspect ratio, so crop the pictures to one shape first",
                other.width(),
                other.height()
            );
        }
        let (width, height) = (width as usize, height as usize);
        let mut data = vec![0f32; prepared.len() * width * height * 3];
        data.par_chunks_exact_mut(width * height * 3)
            .zip(&prepared)
            .for_each(|(target, picture)| {
                for (out, rgb) in target
                    .chunks_exact_mut(3)
                    .zip(picture.as_raw().chunks_exact(3))
                {
                    for channel in 0..3 {
                        out[channel] = self.values[channel][usize::from(rgb[channel])];
                    }
                }
            });
        Tensor::from_vec(data, (prepared.len(), height, width, 3), &Device::Cpu)
    }

    /// The 8-bit picture that the encoder will see, before rescaling and normalising.
    ///
    /// # Errors
    /// If the picture has no pixels.
    pub fn resize_and_crop(&self, picture: &RgbImage) -> Result<RgbImage> {
        let (width, height) = picture.dimensions();
        if width == 0 || height == 0 {
            bail!("a picture of {width}x{height} pixels cannot be preprocessed");
        }
        let mut current = match self.size {
            Some((Size::Exact { width, height }, filter)) => resize(picture, width, height, filter),
            Some((Size::ShortestEdge(edge), filter)) => {
                // Beyond the largest resized picture a strip of a pixel's width would take gigabytes.
                let long = |long: u32, short: u32| {
                    let side = u64::from(edge) * u64::from(long) / u64::from(short);
                    match u32::try_from(side) {
                        Ok(side) if u64::from(side) * u64::from(edge) <= LARGEST => Ok(side),
                        _ => bail!(
                            "a picture of {width}x{height} pixels is too long: with its shorter side at {edge} (key `size`), the longer one is {side}"
                        ),
                    }
                };
                let (width, height) = if width <= height {
                    (edge, long(height, width)?)
                } else {
                    (long(width, height)?, edge)
                };
                resize(picture, width, height, filter)
            }
            None => picture.clone(),
        };
        if let Some((width, height)) = self.crop {
            current = center_crop(&current, width, height);
        }
        Ok(current)
    }
}

impl Config {
    fn family(&self) -> Result<Family> {
        let Some(name) = self
            .image_processor_type
            .as_ref()
            .or(self.feature_extractor_type.as_ref())
        else {
            bail!(
                "key `image_processor_type` is missing: it must be CLIPImageProcessor, ViTImageProcessor or \
                 EfficientNetImageProcessor"
            );
        };
        let plain = name
            .trim_end_matches("Fast")
            .trim_end_matches("Pil")
            .trim_end_matches("ImageProcessor")
            .trim_end_matches("FeatureExtractor");
        Ok(match plain {
            "CLIP" => Family::Clip,
            "ViT" => Family::Vit,
            "EfficientNet" => Family::EfficientNet,
            _ => bail!(
                "key `image_processor_type`: {name} is not known here; it must be CLIPImageProcessor, \
                 ViTImageProcessor or EfficientNetImageProcessor"
            ),
        })
    }

    fn size(&self, family: Family) -> Result<Size> {
        let default = match family {
            Family::Clip | Family::Vit => 224,
            Family::EfficientNet => 346,
        };
        let size = match self.size.unwrap_or(SizeEntry::Edge(default)) {
            // A bare number means the shortest edge for CLIP, and a square for the others.
            SizeEntry::Edge(edge) if family == Family::Clip => Size::ShortestEdge(edge),
            SizeEntry::Edge(edge) => Size::Exact {
                width: edge,
                height: edge,
            },
            SizeEntry::Fields {
                height: Some(height),
                width: Some(width),
                shortest_edge: None,
                longest_edge: None,
            } => Size::Exact { width, height },
            SizeEntry::Fields {
                height: None,
                width: None,
                shortest_edge: Some(edge),
                longest_edge: None,
            } => Size::ShortestEdge(edge),
            SizeEntry::Fields { .. } => {
                bail!("key `size` must be {{height, width}}, {{shortest_edge}} or one number")
            }
        };
        let sides = match size {
            Size::Exact { width, height } => [height, width],
            Size::ShortestEdge(edge) => [edge, edge],
        };
        for side in sides {
            within("size", side as usize, 1, LONGEST_SIDE)?;
        }
        Ok(size)
    }

    fn crop(&self, family: Family) -> Result<(u32, u32)> {
        let default = match family {
            Family::Clip | Family::Vit => 224,
            Family::EfficientNet => 289,
        };
        let (width, height) = match self.crop_size.unwrap_or(SizeEntry::Edge(default)) {
            SizeEntry::Edge(edge) => (edge, edge),
            SizeEntry::Fields {
                height: Some(height),
                width: Some(width),
                ..
            } => (width, height),
            SizeEntry::Fields { .. } => {
                bail!("key `crop_size` must be {{height, width}} or one number")
            }
        };
        for side in [height, width] {
            within("crop_size", side as usize, 1, LONGEST_SIDE)?;
        }
        Ok((width, height))
    }

    /// Rescaling and normalising as a table: f32 at every step, as in transformers.
    fn values(&self, family: Family) -> Result<Box<[[f32; 256]; 3]>> {
        let (mean, std) = match family {
            Family::Clip => (
                [0.481_454_66, 0.457_827_5, 0.408_210_73],
                [0.268_629_54, 0.261_302_6, 0.275_777_1],
            ),
            Family::Vit | Family::EfficientNet => ([0.5; 3], [0.5; 3]),
        };
        let mean = self.image_mean.as_ref().map_or(mean, PerChannel::each);
        let std = self.image_std.as_ref().map_or(std, PerChannel::each);
        if std.iter().any(|s| !s.is_finite() || *s <= 0.0) {
            bail!("key `image_std`: {std:?} must be above zero");
        }
        if mean.iter().any(|m| !m.is_finite()) {
            bail!("key `image_mean`: {mean:?} must be finite");
        }
        let rescale = self.do_rescale.unwrap_or(true);
        let factor = self.rescale_factor.unwrap_or(1.0 / 255.0);
        within("rescale_factor", factor, -1e6, 1e6)?;
        let efficient = family == Family::EfficientNet;
        let offset = efficient && self.rescale_offset.unwrap_or(false);
        let again = efficient && self.include_top.unwrap_or(true);
        let normalize = self.do_normalize.unwrap_or(true);
        let mut values = Box::new([[0f32; 256]; 3]);
        for channel in 0..3 {
            for (level, value) in values[channel].iter_mut().enumerate() {
                let mut x = level as f32;
                if rescale {
                    x = (level as f64 * factor) as f32;
                    if offset {
                        x -= 1.0;
                    }
                }
                if normalize {
                    x = (x - mean[channel]) / std[channel];
                }
                if again {
                    x /= std[channel];
                }
                *value = x;
            }
        }
        if let Some(channel) = (0..3).find(|c| values[*c].iter().any(|x| !x.is_finite())) {
            bail!(
                "keys `rescale_factor`, `image_mean`, `image_std`: {factor}, {}, {} make values that are not finite",
                mean[channel],
                std[channel]
            );
        }
        Ok(values)
    }
}

/// Crops the centre `width` x `height`; a smaller picture is padded with black.
fn center_crop(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    // Along one axis: start in the source, start in the target, length.
    let place = |source: u32, length: u32| match source.checked_sub(length) {
        Some(spare) => (spare / 2, 0, length),
        None => (0, (length - source).div_ceil(2), source),
    };
    let (from_x, to_x, columns) = place(image.width(), width);
    let (from_y, to_y, rows) = place(image.height(), height);
    let mut out = RgbImage::new(width, height);
    for y in 0..rows {
        for x in 0..columns {
            out.put_pixel(x + to_x, y + to_y, *image.get_pixel(x + from_x, y + from_y));
        }
    }
    out
}
