//! Matrix products by cuBLASLt.

use super::buffer::{Kind, memory_error};
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cublaslt::{result, result::CublasError, sys};
use candle_core::cuda_backend::cudarc::driver::sys::CUdeviceptr;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaStream, DevicePtr};
use candle_core::{Error, Result};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

/// NVIDIA's recommendation for Hopper.
const WORKSPACE: usize = 32 << 20;

/// A contiguous row-major matrix, optionally transposed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix {
    ptr: CUdeviceptr,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Elements from row to row in memory.
    stride: usize,
    turned: bool,
}

impl Matrix {
    pub(crate) fn new(ptr: CUdeviceptr, rows: usize, cols: usize) -> Self {
        Self::strided(ptr, rows, cols, cols)
    }

    pub(crate) fn strided(ptr: CUdeviceptr, rows: usize, cols: usize, stride: usize) -> Self {
        Self {
            ptr,
            rows,
            cols,
            stride,
            turned: false,
        }
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            turned: !self.turned,
            ..self
        }
    }

    /// Rows and columns in memory.
    fn stored(&self) -> (usize, usize) {
        match self.turned {
            true => (self.cols, self.rows),
            false => (self.rows, self.cols),
        }
    }
}

/// A B, plus a bias for every column.
pub(crate) struct Product {
    pub(crate) a: Matrix,
    pub(crate) b: Matrix,
    /// As many values of `out` as B has columns.
    pub(crate) bias: Option<CUdeviceptr>,
    /// Of A and B.
    pub(crate) kind: Kind,
    pub(crate) out: Kind,
}

/// Everything that the choice of algorithm depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    sizes: [usize; 3],
    strides: [usize; 3],
    turned: [bool; 2],
    kinds: [Kind; 2],
    bias: bool,
    /// Alignment in bytes of the addresses of A, B and the result.
    alignment: [u32; 3],
}

fn alignment(ptr: CUdeviceptr) -> u32 {
    1 << ptr.trailing_zeros().min(8)
}

/// The library's handle, its workspace and the algorithms chosen so far.
pub(super) struct Products {
    stream: Arc<CudaStream>,
    handle: sys::cublasLtHandle_t,
    /// Shared by all: a product that is split along k takes two launches, which must not be interleaved with others.
    workspace: Mutex<CudaSlice<u8>>,
    chosen: Mutex<HashMap<Shape, sys::cublasLtMatmulAlgo_t>>,
}

// SAFETY: cuBLASLt's handle may be used by any thread, also by several at once.
unsafe impl Send for Products {}
// SAFETY: as above.
unsafe impl Sync for Products {}

impl Products {
    pub(super) fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        // SAFETY: scratch of the library's own.
        let workspace = unsafe { stream.alloc(WORKSPACE) };
        let workspace = workspace.map_err(|e| memory_error(stream, &e, WORKSPACE))?;
        Ok(Self {
            stream: stream.clone(),
            handle: result::create_handle().map_err(failed)?,
            workspace: Mutex::new(workspace),
            chosen: Mutex::default(),
        })
    }
}

fn failed(e: CublasError) -> Error {
    Error::msg(format!("cuBLASLt: {:?}", e.0))
}

fn data_type(kind: Kind) -> sys::cudaDataType {
    match kind {
        Kind::F32 => sys::cudaDataType_t::CUDA_R_32F,
        Kind::Bf16 => sys::cudaDataType_t::CUDA_R_16BF,
    }
}

/// A descriptor that is destroyed on drop.
struct Layout(sys::cublasLtMatrixLayout_t);

impl Layout {
    /// Of a row-major matrix, which is the transpose of a column-major one.
    fn new(kind: Kind, (rows, cols): (usize, usize), stride: usize) -> Result<Self> {
        result::create_matrix_layout(data_type(kind), cols as u64, rows as u64, stride as i64)
            .map(Self)
            .map_err(failed)
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: created by `new`, destroyed once.
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

struct Operation(sys::cublasLtMatmulDesc_t);

impl Operation {
    fn new() -> Result<Self> {
        // f32 sums: TF32 would round the factors of an f32 product.
        result::create_matmul_desc(
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cudaDataType_t::CUDA_R_32F,
        )
        .map(Self)
        .map_err(failed)
    }

    fn set<T>(&self, attribute: sys::cublasLtMatmulDescAttributes_t, value: T) -> Result<()> {
        // SAFETY: the library copies the value; its type is the attribute's.
        unsafe {
            result::set_matmul_desc_attribute(
                self.0,
                attribute,
                std::ptr::from_ref(&value).cast::<c_void>(),
                size_of::<T>(),
            )
        }
        .map_err(failed)
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        // SAFETY: created by `new`, destroyed once.
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    fn set<T>(&self, attribute: sys::cublasLtMatmulPreferenceAttributes_t, value: T) -> Result<()> {
        // SAFETY: the library copies the value; its type is the attribute's.
        unsafe {
            result::set_matmul_pref_attribute(
                self.0,
                attribute,
                std::ptr::from_ref(&value).cast::<c_void>(),
                size_of::<T>(),
            )
        }
        .map_err(failed)
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: created once, destroyed once.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}

impl Products {
    /// The product at `y`, row-major, `stride` elements from row to row.
    ///
    /// The library uses column-major matrices, the transposes of ours: it computes Y^T = B^T A^T.
    pub(super) fn put(&self, p: &Product, y: CUdeviceptr, stride: usize) -> Result<()> {
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        let (m, n, k) = (p.a.rows, p.b.cols, p.a.cols);
        debug_assert_eq!(k, p.b.rows);
        if m == 0 || n == 0 {
            return Ok(());
        }
        self.stream.context().bind_to_thread().w()?;
        let operation = Operation::new()?;
        operation.set(
            Attribute::CUBLASLT_MATMUL_DESC_TRANSA,
            i32::from(p.b.turned),
        )?;
        operation.set(
            Attribute::CUBLASLT_MATMUL_DESC_TRANSB,
            i32::from(p.a.turned),
        )?;
        if let Some(bias) = p.bias {
            let epilogue = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
            operation.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue)?;
            operation.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias)?;
        }
        let a = Layout::new(p.kind, p.b.stored(), p.b.stride)?;
        let b = Layout::new(p.kind, p.a.stored(), p.a.stride)?;
        let c = Layout::new(p.out, (m, n), stride)?;
        let shape = Shape {
            sizes: [m, n, k],
            strides: [p.a.stride, p.b.stride, stride],
            turned: [p.a.turned, p.b.turned],
            kinds: [p.kind, p.out],
            bias: p.bias.is_some(),
            alignment: [p.a.ptr, p.b.ptr, y].map(alignment),
        };
        let algorithm = self.algorithm(shape, &operation, [&a, &b, &c])?;
        let (one, zero) = (1f32, 0f32);
        let workspace = self.workspace.lock();
        let workspace = workspace.unwrap_or_else(PoisonError::into_inner);
        let scratch = workspace.device_ptr(&self.stream).0;
        // SAFETY: the descriptions are those of the memory behind the pointers.
        unsafe {
            result::matmul(
                self.handle,
                operation.0,
                std::ptr::from_ref(&one).cast(),
                std::ptr::from_ref(&zero).cast(),
                p.b.ptr as *const c_void,
                a.0,
                p.a.ptr as *const c_void,
                b.0,
                y as *const c_void,
                c.0,
                y as *mut c_void,
                c.0,
                &algorithm,
                scratch as *mut c_void,
                WORKSPACE,
                self.stream.cu_stream().cast(),
            )
        }
        .map_err(failed)
    }

    /// The library's first choice, requested once per shape.
    fn algorithm(
        &self,
        shape: Shape,
        operation: &Operation,
        [a, b, c]: [&Layout; 3],
    ) -> Result<sys::cublasLtMatmulAlgo_t> {
        let lock = || self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&shape) {
            return Ok(*known);
        }
        let preference = Preference(result::create_matmul_pref().map_err(failed)?);
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        preference.set(
            Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
            WORKSPACE,
        )?;
        let [first, second, out] = shape.alignment;
        for (attribute, bytes) in [
            (
                Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                second,
            ),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, first),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, out),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, out),
        ] {
            preference.set(attribute, bytes)?;
        }
        // SAFETY: the descriptions live through the call.
        let found = unsafe {
            result::get_matmul_algo_heuristic(
                self.handle,
                operation.0,
                a.0,
                b.0,
                c.0,
                c.0,
                preference.0,
            )
        };
        let found = found.map_err(|e| {
            let [m, n, k] = shape.sizes;
            Error::msg(format!(
                "cuBLASLt: no product {m} x {k} by {k} x {n}: {:?}",
                e.0
            ))
        })?;
        lock().insert(shape, found.algo);
        Ok(found.algo)
    }
}
