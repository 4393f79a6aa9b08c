//! One contact sheet of many pictures: a row per prompt and seed, a column per picture or LoRA scale, with their names.

use font8x8::UnicodeFonts;
use image::{Rgb, RgbImage};

/// Side of a letter.
const LETTER: u32 = 8;
/// Free room around pictures and names.
const GAP: u32 = 6;
/// Longest side of a sheet; pictures are made smaller to fit.
const LONGEST: u32 = 16_000;
/// Lines of a column's name.
const MOST_LINES: usize = 3;
const PAPER: Rgb<u8> = Rgb([250, 250, 248]);
const INK: Rgb<u8> = Rgb([30, 30, 34]);

/// Pictures by row; every row has as many as there are `columns`.
pub(super) struct Sheet<'a> {
    /// Names above the columns.
    pub(super) columns: Vec<String>,
    /// Names above the rows, with their pictures, all of one size.
    pub(super) rows: Vec<(String, Vec<&'a RgbImage>)>,
}

/// Whether a sheet of so many columns and rows can be drawn.
pub(super) fn fits(columns: usize, rows: usize) -> bool {
    let most = LONGEST as usize;
    columns * (GAP as usize + 1) < most && rows * (3 * GAP + LETTER + 1) as usize <= most
}

impl Sheet<'_> {
    /// Draws it. Names that are too long for the sheet are cut.
    pub(super) fn draw(&self) -> RgbImage {
        let across = self.columns.len().max(1) as u32;
        let down = self.rows.len().max(1) as u32;
        let side = self.rows.first().and_then(|row| row.1.first());
        let side = side.map_or(64, |picture| picture.width());
        let side = side
            .min((LONGEST / across).saturating_sub(GAP))
            .min((LONGEST / down).saturating_sub(3 * GAP + LETTER))
            .max(1);
        let scale = (side / 256).clamp(1, 4);
        let line = LETTER * scale + GAP;
        // A letter is left free, so that names beside each other stay apart.
        let letters = (side / (LETTER * scale)).saturating_sub(1) as usize;
        let heads: Vec<Vec<String>> = self
            .columns
            .iter()
            .map(|name| lines(name, letters))
            .collect();
        let head = line * heads.iter().map(Vec::len).max().unwrap_or(1) as u32;
        let width = GAP + across * (side + GAP);
        let height = head + GAP + down * (line + side + GAP);
        let mut sheet = RgbImage::from_pixel(width, height, PAPER);
        for (i, name) in heads.iter().enumerate() {
            let x = GAP + i as u32 * (side + GAP);
            for (y, part) in (GAP..).step_by(line as usize).zip(name) {
                write(&mut sheet, part, (x, y), scale, side);
            }
        }
        for (r, (name, pictures)) in self.rows.iter().enumerate() {
            let y = head + GAP + r as u32 * (line + side + GAP);
            write(&mut sheet, name, (GAP, y), scale, width - 2 * GAP);
            for (c, picture) in pictures.iter().enumerate() {
                let small = rpo_data::picture::resize(picture, side, side);
                let x = GAP + c as u32 * (side + GAP);
                image::imageops::replace(&mut sheet, &small, x.into(), (y + line).into());
            }
        }
        sheet
    }
}

/// A name in at most three lines, broken between words; one word or one line is not broken.
fn lines(name: &str, letters: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in name.split(' ') {
        let count = lines.len();
        let line = &mut lines[count - 1];
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= letters || count == MOST_LINES
        {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Writes as much of `text` as `room` pixels hold; letters that the font lacks become `?`.
fn write(sheet: &mut RgbImage, text: &str, (x, y): (u32, u32), scale: u32, room: u32) {
    let advance = LETTER * scale;
    for (i, letter) in text.chars().take((room / advance) as usize).enumerate() {
        let known = font8x8::BASIC_FONTS
            .get(letter)
            .or_else(|| font8x8::LATIN_FONTS.get(letter))
            .or_else(|| font8x8::GREEK_FONTS.get(letter))
            .or_else(|| font8x8::BASIC_FONTS.get('?'));
        let left = x + i as u32 * advance;
        for (row, bits) in (0u32..).zip(known.unwrap_or_default()) {
            for column in (0..LETTER).filter(|column| bits >> column & 1 == 1) {
                for (dx, dy) in (0..scale).flat_map(|dx| (0..scale).map(move |dy| (dx, dy))) {
                    let at = (left + column * scale + dx, y + row * scale + dy);
                    if at.0 < sheet.width() && at.1 < sheet.height() {
                        sheet.put_pixel(at.0, at.1, INK);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_broken_between_words() {
        assert_eq!(
            lines("a {} on a pink blanket", 12),
            ["a {} on a", "pink blanket"]
        );
        assert_eq!(lines("scale 1", 20), ["scale 1"]);
        assert_eq!(lines("averylongword", 4), ["averylongword"]);
        assert_eq!(lines("a b c d e f", 1), ["a", "b", "c d e f"]);
        assert_eq!(lines("", 8), [""]);
    }

    #[test]
    fn every_picture_has_its_place() {
        let pictures: Vec<RgbImage> = (0..6)
            .map(|i| RgbImage::from_pixel(64, 64, Rgb([40 * i, 0, 255])))
            .collect();
        let rows = pictures.chunks(3).enumerate();
        let sheet = Sheet {
            columns: ["1", "2", "λ"].map(str::to_owned).into(),
            rows: rows
                .map(|(i, row)| {
                    (
                        format!("prompt {i}, which is rather long for a sheet"),
                        row.iter().collect(),
                    )
                })
                .collect(),
        };
        let drawn = sheet.draw();
        assert_eq!(drawn.dimensions(), (6 + 3 * 70, 20 + 2 * (14 + 70)));
        for (i, picture) in pictures.iter().enumerate() {
            let (r, c) = (i as u32 / 3, i as u32 % 3);
            let (x, y) = (6 + 70 * c, 20 + 84 * r + 14);
            assert_eq!(drawn.get_pixel(x, y), picture.get_pixel(0, 0));
            assert_eq!(drawn.get_pixel(x + 63, y + 63), picture.get_pixel(0, 0));
            assert_eq!(drawn.get_pixel(x + 64, y), &PAPER);
        }
        let inked = |y: std::ops::Range<u32>| {
            y.flat_map(|y| (0..drawn.width()).map(move |x| (x, y)))
                .any(|(x, y)| drawn.get_pixel(x, y) == &INK)
        };
        assert!(inked(6..14) && inked(20..28) && !inked(0..6));
    }
}
