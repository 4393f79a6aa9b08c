//! Indices of an array as sbatch reads them.

use std::ops::Range;

/// A part of the cells that fits into one array: their indices less `offset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Added to an element's number to find its cell.
    pub offset: usize,
    /// Numbers of the elements, ascending.
    pub elements: Vec<usize>,
}

/// Cuts ascending indices into chunks of at most `most` elements, which are below `limit` (`MaxArraySize`).
pub fn chunks(indices: &[usize], limit: usize, most: usize) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    // Round, so that the number of a cell can be read off that of its element.
    let limit = match limit {
        0..=10 => limit.max(1),
        _ => limit - limit % 10,
    };
    for &index in indices {
        let offset = index / limit * limit;
        match chunks
            .last_mut()
            .filter(|c| c.offset == offset && c.elements.len() < most)
        {
            Some(chunk) => chunk.elements.push(index - offset),
            None => chunks.push(Chunk {
                offset,
                elements: vec![index - offset],
            }),
        }
    }
    chunks
}

/// `0-7,9,11-12`
pub fn list(elements: &[usize]) -> String {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for &n in elements {
        match ranges.last_mut().filter(|r| r.end == n) {
            Some(range) => range.end = n + 1,
            None => ranges.push(n..n + 1),
        }
    }
    let range = |r: &Range<usize>| match r.len() {
        1 => r.start.to_string(),
        _ => format!("{}-{}", r.start, r.end - 1),
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_short() {
        assert_eq!(list(&[0, 1, 2, 3]), "0-3");
        assert_eq!(list(&[3, 5, 6, 9]), "3,5-6,9");
        assert_eq!(list(&[7]), "7");
        assert_eq!(list(&[]), "");
    }

    #[test]
    fn chunks_are_below_the_limit_and_cover_all() {
        let indices: Vec<usize> = (0..2500).filter(|i| i % 7 != 3).collect();
        for limit in [1, 2, 7, 11, 1001, 4000] {
            let chunks = chunks(&indices, limit, 700);
            let whole = chunks.iter().flat_map(|c| {
                assert!(c.elements.iter().all(|e| *e < limit) && c.elements.len() <= 700);
                c.elements.iter().map(|e| e + c.offset)
            });
            assert_eq!(whole.collect::<Vec<_>>(), indices, "{limit}");
        }
        let offsets: Vec<usize> = chunks(&indices, 1001, 1001)
            .iter()
            .map(|c| c.offset)
            .collect();
        assert_eq!(offsets, [0, 1000, 2000]);
    }
}
