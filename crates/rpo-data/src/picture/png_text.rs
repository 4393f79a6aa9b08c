//! PNG files that say how their picture was made.

use anyhow::{Context, Result};
use image::RgbImage;
use png::{BitDepth, ColorType, Encoder};

/// `picture` as the bytes of a PNG file with texts, by keyword: `tEXt` where the text is Latin-1, else `iTXt`, as Pillow writes them.
///
/// # Errors
/// A keyword that PNG does not allow (empty, above 79 bytes, not Latin-1).
pub fn png_with_texts(picture: &RgbImage, texts: &[(&str, &str)]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (width, height) = picture.dimensions();
    let mut encoder = Encoder::new(&mut bytes, width, height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    for (key, text) in texts {
        let (key, text) = ((*key).to_owned(), (*text).to_owned());
        let named = format!("the text {key:?} of a PNG file");
        // NUL ends a text.
        let text = text.replace('\0', " ");
        match text.chars().all(|c| u32::from(c) < 256) {
            true => encoder.add_text_chunk(key, text).context(named)?,
            false => encoder.add_itxt_chunk(key, text).context(named)?,
        }
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(picture.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn texts_and_pixels_come_back() {
        let picture = RgbImage::from_fn(5, 3, |x, y| image::Rgb([x as u8 * 50, y as u8 * 80, 7]));
        let texts = [
            ("parameters", "a [v] dog\nSteps: 3"),
            ("rpo", "λ = 0.5 · ü"),
        ];
        let bytes = png_with_texts(&picture, &texts).unwrap();
        let reader = png::Decoder::new(Cursor::new(&bytes)).read_info().unwrap();
        let info = reader.info();
        let plain = &info.uncompressed_latin1_text[0];
        assert_eq!((&*plain.keyword, &*plain.text), texts[0]);
        let wide = &info.utf8_text[0];
        assert_eq!((&*wide.keyword, &*wide.get_text().unwrap()), texts[1]);
        let read = image::load_from_memory(&bytes).unwrap().to_rgb8();
        assert_eq!(read, picture);
        assert!(png_with_texts(&picture, &[("", "x")]).is_err());
    }
}
