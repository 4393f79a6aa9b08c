//! A global allocator that keeps freed large blocks for reuse.
//!
//! A forward pass allocates the same sizes repeatedly. The operating system must map and clear the pages of a new block one by
//! one, which can cost more than the arithmetic that fills it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};

/// Smaller blocks are left to the system's allocator.
const LEAST: usize = 1 << 16;
/// A cache line, and the width of the widest registers.
const ALIGN: usize = 64;
/// Sizes between a power of two and the next: a block is at most a sixteenth larger than requested.
const STEPS: usize = 16;
const CLASSES: usize = 32 * STEPS;

/// Set by a binary: `#[global_allocator] static POOL: rpo_nn::Pool = rpo_nn::Pool::new();`
pub struct Pool {
    shelves: Mutex<Shelves>,
}

struct Shelves {
    /// The first free block of each size, which holds the address of the next.
    first: [*mut u8; CLASSES],
    /// Total bytes of the free blocks.
    kept: usize,
}

// SAFETY: the free blocks belong only to the shelves.
unsafe impl Send for Shelves {}

impl Pool {
    /// Maximum bytes kept.
    pub const MOST: usize = 1 << 30;

    /// An empty one.
    pub const fn new() -> Self {
        Self {
            shelves: Mutex::new(Shelves {
                first: [null_mut(); CLASSES],
                kept: 0,
            }),
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Shelves) -> T) -> T {
        f(&mut self.shelves.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A kept block.
    fn take(&self, class: Class) -> *mut u8 {
        self.with(|shelves| {
            let block = shelves.first[class.index];
            if !block.is_null() {
                // SAFETY: a block on a shelf is ours, large enough and aligned for a pointer, and begins with one.
                shelves.first[class.index] = unsafe { block.cast::<*mut u8>().read() };
                shelves.kept -= class.size;
            }
            block
        })
    }

    /// Keeps a freed block if there is room; returns whether it did.
    fn keep(&self, class: Class, block: *mut u8) -> bool {
        self.with(|shelves| {
            let fits = shelves.kept + class.size <= Self::MOST;
            if fits {
                // SAFETY: the block was just given back by its owner; it is large enough and aligned for a pointer.
                unsafe { block.cast::<*mut u8>().write(shelves.first[class.index]) };
                shelves.first[class.index] = block;
                shelves.kept += class.size;
            }
            fits
        })
    }

    /// A block from the shelf or, by `fresh`, from the system.
    fn block(&self, class: Class, fresh: impl FnOnce(Layout) -> *mut u8) -> *mut u8 {
        let block = self.take(class);
        if block.is_null() {
            fresh(class.layout())
        } else {
            block
        }
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

/// A size that blocks are rounded up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Class {
    index: usize,
    size: usize,
}

impl Class {
    /// `None` for blocks from the system's allocator.
    fn of(layout: Layout) -> Option<Self> {
        let size = layout.size();
        if size < LEAST || layout.align() > ALIGN {
            return None;
        }
        let power = size.ilog2();
        let step = (1usize << power) / STEPS;
        let steps = (size - (1 << power)).div_ceil(step);
        let index = (power - LEAST.ilog2()) as usize * STEPS + steps;
        (index < CLASSES).then(|| Self {
            index,
            size: (1 << power) + steps * step,
        })
    }

    fn layout(self) -> Layout {
        // SAFETY: the alignment is a power of two, and `index < CLASSES` keeps the size far from the largest.
        unsafe { Layout::from_size_align_unchecked(self.size, ALIGN) }
    }
}

// SAFETY: a block is either the system's for exactly the layout it is later freed with, or one of the class of its layout, which
// is found again from the layout alone and is at least as large and as aligned.
unsafe impl GlobalAlloc for Pool {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match Class::of(layout) {
            // SAFETY: as the caller promises.
            None => unsafe { System.alloc(layout) },
            // SAFETY: a class has a size above 0.
            Some(class) => self.block(class, |layout| unsafe { System.alloc(layout) }),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(class) = Class::of(layout) else {
            // SAFETY: as the caller promises.
            return unsafe { System.alloc_zeroed(layout) };
        };
        let block = self.take(class);
        if block.is_null() {
            // SAFETY: a class has a size above 0.
            return unsafe { System.alloc_zeroed(class.layout()) };
        }
        // SAFETY: the block is at least as large as the layout asks for.
        unsafe { block.write_bytes(0, layout.size()) };
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match Class::of(layout) {
            // SAFETY: as the caller promises.
            None => unsafe { System.dealloc(block, layout) },
            Some(class) => {
                if !self.keep(class, block) {
                    // SAFETY: blocks of a class were allocated with its layout.
                    unsafe { System.dealloc(block, class.layout()) }
                }
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises a size that does not overflow with this alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (Class::of(layout), Class::of(new)) {
            // SAFETY: as the caller promises.
            (None, None) => unsafe { System.realloc(block, layout, size) },
            (Some(a), Some(b)) if a == b => block,
            _ => {
                // SAFETY: both blocks hold the smaller of the sizes and are distinct.
                unsafe {
                    let moved = self.alloc(new);
                    if !moved.is_null() {
                        moved.copy_from_nonoverlapping(block, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 4).unwrap()
    }

    #[test]
    fn classes_waste_a_sixteenth_at_most() {
        assert_eq!(Class::of(layout(LEAST - 1)), None);
        assert_eq!(
            Class::of(Layout::from_size_align(LEAST, 128).unwrap()),
            None
        );
        let mut last = 0;
        for size in (LEAST..40 * LEAST).step_by(4) {
            let class = Class::of(layout(size)).unwrap();
            assert!(class.size >= size && class.size - size <= size / STEPS);
            assert!(class.index >= last);
            last = class.index;
            // The rounded size is of the same class: what is freed goes where it came from.
            assert_eq!(Class::of(layout(class.size)), Some(class));
        }
    }

    #[test]
    fn blocks_come_back_and_hold_what_they_should() {
        let pool = Pool::new();
        let (small, large) = (layout(3 * LEAST), layout(3 * LEAST + 100 * LEAST));
        // SAFETY: every block is used inside its layout and freed once with it.
        unsafe {
            let a = pool.alloc(small);
            a.write_bytes(7, small.size());
            pool.dealloc(a, small);
            let b = pool.alloc_zeroed(small);
            assert_eq!(a, b, "the block that was kept");
            assert!((0..small.size()).all(|i| b.add(i).read() == 0));
            b.write_bytes(9, small.size());
            let c = pool.realloc(b, small, large.size());
            assert!((0..small.size()).all(|i| c.add(i).read() == 9));
            let d = pool.realloc(c, large, 100);
            assert!((0..100).all(|i| d.add(i).read() == 9));
            pool.dealloc(d, layout(100));
            assert_eq!(
                pool.with(|s| s.kept),
                Class::of(small).unwrap().size + Class::of(large).unwrap().size
            );
        }
    }
}
