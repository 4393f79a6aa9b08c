//! candle-kernels' interface without its kernels.
//!
//! candle-core's `cuda` feature compiles some hundred kernels with nvcc, for a quarter of an hour. This project runs kernels of its own on CUDA
//! tensors (`crates/rpo-nn/cuda`) and needs of candle its device, its storage and its copies, which launch none. With this crate in the
//! place of candle-kernels, building takes neither nvcc nor that time. One of candle's own operations on a CUDA tensor ends in an error of
//! the driver when it loads [`Module::ptx`].
//!
//! `ffi.rs` is that of candle-kernels 0.11.1: the declarations that candle's quantised tensors refer to. Nothing here defines them.

pub mod cuda;

/// candle-kernels' modules.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Id {
    Affine,
    Binary,
    Cast,
    Conv,
    Fill,
    Indexing,
    Quantized,
    Reduce,
    Sort,
    Ternary,
    Unary,
}

/// All of them.
pub const ALL_IDS: [Id; 11] = [
    Id::Affine,
    Id::Binary,
    Id::Cast,
    Id::Conv,
    Id::Fill,
    Id::Indexing,
    Id::Quantized,
    Id::Reduce,
    Id::Sort,
    Id::Ternary,
    Id::Unary,
];

/// A module of no kernels.
pub struct Module(Id);

impl Module {
    /// Its place in [`ALL_IDS`].
    pub fn index(&self) -> usize {
        self.0 as usize
    }

    /// Not a module that the driver takes: its message appears where the operation is called.
    pub fn ptx(&self) -> &'static str {
        "// candle's own CUDA kernels are not part of this build: see third_party/candle-kernels"
    }
}

macro_rules! modules {
    ($($name:ident $id:ident)*) => {$(
        #[allow(missing_docs)]
        pub const $name: Module = Module(Id::$id);
    )*};
}

modules! {
    AFFINE Affine
    BINARY Binary
    CAST Cast
    CONV Conv
    FILL Fill
    INDEXING Indexing
    QUANTIZED Quantized
    REDUCE Reduce
    SORT Sort
    TERNARY Ternary
    UNARY Unary
}

pub mod ffi;
