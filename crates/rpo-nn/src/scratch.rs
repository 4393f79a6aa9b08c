//! Buffers that a thread keeps: fresh pages from the operating system cost more than the arithmetic on a small tile.

use std::cell::Cell;

thread_local! {
    static KEPT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Calls `f` with `len` elements of arbitrary content; they are kept for the next call on this thread. A call inside `f` gets a
/// buffer of its own.
pub(crate) fn with<T>(len: usize, f: impl FnOnce(&mut [f32]) -> T) -> T {
    let mut buffer = KEPT.take();
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    let result = f(&mut buffer[..len]);
    KEPT.set(buffer);
    result
}

/// Cuts the first `len` elements off `rest`.
pub(crate) fn take<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (first, others) = std::mem::take(rest).split_at_mut(len);
    *rest = others;
    first
}

#[cfg(test)]
mod tests {
    #[test]
    fn nested_buffers_are_distinct() {
        super::with(4, |a| {
            a.fill(1.0);
            super::with(8, |b| b.fill(2.0));
            assert_eq!(a, [1.0; 4]);
        });
    }
}
