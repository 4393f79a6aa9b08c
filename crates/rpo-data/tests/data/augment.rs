//! Custom Diffusion's augmentation.

use image::{Rgb, RgbImage};
use rpo_data::augment::{PREFIXES, Shown, largest};
use rpo_data::random::stream;

fn draws(size: u32, cell: u32, count: usize) -> Vec<Shown> {
    let mut rng = stream(7, "augment", &[]);
    (0..count)
        .map(|_| Shown::draw(&mut rng, size, cell))
        .collect()
}

#[test]
fn sides_and_words_are_those_of_diffusers() {
    let drawn = draws(512, 8, 20_000);
    let share = |is: &dyn Fn(&Shown) -> bool| {
        drawn.iter().filter(|shown| is(shown)).count() as f64 / drawn.len() as f64
    };
    assert!(
        drawn
            .iter()
            .all(|s| (170..=512).contains(&s.side) || (614..716).contains(&s.side))
    );
    // 170 to 307 of 170 to 512.
    let small = 0.66 * 138.0 / 343.0;
    let close = |found: f64, expected: f64| {
        assert!((found - expected).abs() < 0.012, "{found} {expected}");
    };
    close(share(&|s| s.side > 512), 0.34);
    close(share(&|s| s.side < 308), small);
    for (prefix, of) in [small, small, 0.34, 0.34].into_iter().enumerate() {
        close(share(&|s| s.prefix == Some(prefix)), of / 2.0);
    }
    for shown in &drawn {
        let small = shown.side < 308;
        let words = shown.prefix.map(|prefix| prefix < 2);
        let expected = match small || shown.side > 512 {
            true => Some(small),
            false => None,
        };
        assert_eq!(words, expected, "{shown:?}");
    }
    assert_eq!(largest(512), 716);
    assert_eq!(PREFIXES.map(str::len), [11, 11, 10, 9]);
}

#[test]
fn a_reference_lies_on_grey_and_its_inner_cells_count() {
    let (size, cell) = (64, 4);
    let mut corners = std::collections::BTreeSet::new();
    for shown in draws(size, cell, 400) {
        let picture =
            RgbImage::from_fn(shown.side, shown.side, |x, y| Rgb([x as u8, y as u8, 255]));
        let values = shown.values(&picture);
        assert_eq!(values.len(), 64 * 64 * 3);
        let at = |x: u32, y: u32| &values[((y * size + x) * 3) as usize..][..3];
        let mask = shown.mask();
        assert_eq!(mask.dimensions(), (16, 16));
        let level = |value: f32| ((value + 1.0) * 127.5).round() as u32;
        // The reference is where blue is.
        let inside = |x: u32, y: u32| at(x, y)[2] == 1.0;
        let first = (0..64 * 64).find(|i| inside(i % 64, i / 64)).unwrap();
        let (left, top) = (first % 64, first / 64);
        let [red, green] = [at(left, top)[0], at(left, top)[1]].map(level);
        if shown.side > size {
            assert_eq!((left, top), (0, 0));
            assert!(red <= shown.side - size && green <= shown.side - size);
            assert_eq!(level(at(63, 63)[0]), red + 63);
            assert!(mask.values().iter().all(|m| *m == 1.0));
            continue;
        }
        assert_eq!((red, green), (0, 0));
        corners.insert((left, top));
        for y in 0..64 {
            for x in 0..64 {
                let own =
                    (left..left + shown.side).contains(&x) && (top..top + shown.side).contains(&y);
                assert_eq!(own, inside(x, y));
                let expected = match own {
                    true => [x - left, y - top].map(|v| v as f32 / 127.5 - 1.0),
                    false => [0.0; 2],
                };
                assert_eq!(at(x, y)[..2], expected);
                assert!(own || at(x, y)[2] == 0.0);
            }
        }
        // diffusers: top // 4 + 1 up to (top + side) // 4 - 1, so that every cell that counts shows the reference alone.
        let [from, to] = [top, top + shown.side].map(|at| at / 4);
        let rows = (to - 1).saturating_sub(from + 1);
        let [from, to] = [left, left + shown.side].map(|at| at / 4);
        let columns = (to - 1).saturating_sub(from + 1);
        let count = mask.values().iter().filter(|m| **m == 1.0).count();
        assert_eq!(count as u32, rows * columns);
        assert!(count > 0);
        for (i, _) in mask.values().iter().enumerate().filter(|(_, m)| **m > 0.0) {
            let (x, y) = (i as u32 % 16 * 4, i as u32 / 16 * 4);
            assert!(inside(x, y) && inside(x + 3, y + 3));
        }
    }
    assert!(corners.len() > 100, "{}", corners.len());
}

#[test]
fn small_pictures_keep_a_cell_that_counts() {
    for (size, cell) in [(64, 8), (24, 8), (32, 8), (128, 8), (256, 8)] {
        for shown in draws(size, cell, 2000) {
            assert!(!shown.mask().is_empty(), "{shown:?}");
            assert!(shown.side <= largest(size).max(size + 1), "{shown:?}");
        }
    }
}
