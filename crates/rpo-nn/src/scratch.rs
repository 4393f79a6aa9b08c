//! Per-thread scratch buffers: new pages from the operating system cost more than the arithmetic on a small tile.

use std::cell::RefCell;

thread_local! {
    static KEPT: RefCell<Vec<Vec<f32>>> = const { RefCell::new(vec![]) };
}

/// Calls `f` with `len` elements of arbitrary content, reused by the next call on this thread. A call inside `f` gets a separate
/// buffer.
pub(crate) fn with<T>(len: usize, f: impl FnOnce(&mut [f32]) -> T) -> T {
    let mut buffer = KEPT.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    let result = f(&mut buffer[..len]);
    KEPT.with_borrow_mut(|kept| kept.push(buffer));
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

    #[test]
    fn nested_buffers_are_kept() {
        let places = || {
            super::with(4, |a| {
                let a = a.as_ptr();
                super::with(8, |b| (a, b.as_ptr()))
            })
        };
        assert_eq!(places(), places());
    }
}
