//! The kernels of `cuda/*.cu`, from the PTX beside them.

use super::buffer::Kind;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaFunction, CudaStream, result, sys};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::{Error, Result, bail};
use std::collections::HashMap;
use std::ffi::c_void;
use std::io::Read;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

macro_rules! modules {
    ($($name:literal),* $(,)?) => {
        /// The PTX of every file of kernels, compressed.
        const MODULES: &[&[u8]] = &[$(include_bytes!(concat!("../../cuda/ptx/", $name, ".ptx.gz"))),*];
    };
}

modules!(
    "activation",
    "attention_backward",
    "attention_f32",
    "attention_forward",
    "copy",
    "depthwise",
    "elementwise",
    "group_norm",
    "group_norm_backward",
    "layer_norm",
    "optim",
    "pad",
    "reduce",
    "softmax",
);

/// Dynamic shared memory that every kernel may have.
const DEFAULT_SHARED: usize = 48 << 10;

/// Default number of threads per block.
pub(crate) const BLOCK: u32 = 256;

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg {
    Ptr(sys::CUdeviceptr),
    Int(i32),
    Long(i64),
    Float(f32),
}

impl Arg {
    pub(crate) fn int(n: usize) -> Self {
        Self::Int(n as i32)
    }

    pub(crate) fn long(n: usize) -> Self {
        Self::Long(n as i64)
    }

    fn bytes(self) -> usize {
        match self {
            Self::Ptr(_) | Self::Long(_) => 8,
            Self::Int(_) | Self::Float(_) => 4,
        }
    }
}

/// Number of blocks, threads per block, and bytes of dynamic shared memory per block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch {
    pub(crate) grid: [usize; 3],
    pub(crate) block: [u32; 3],
    pub(crate) shared: usize,
}

impl Launch {
    /// Enough for one pass over `n` values, eight per thread: the kernel loops in strides of the whole grid.
    pub(crate) fn over(n: usize) -> Self {
        Self::blocks([n.div_ceil(8 * BLOCK as usize).clamp(1, 1 << 20), 1, 1])
    }

    pub(crate) fn blocks(grid: [usize; 3]) -> Self {
        Self {
            grid,
            block: [BLOCK, 1, 1],
            shared: 0,
        }
    }
}

struct Entry {
    /// PTX of this kernel alone: the driver compiles only kernels that are called.
    ptx: String,
    /// Bytes of every parameter.
    parameters: Vec<usize>,
}

/// All kernels by name.
fn entries() -> &'static HashMap<String, Entry> {
    static ENTRIES: OnceLock<HashMap<String, Entry>> = OnceLock::new();
    ENTRIES.get_or_init(|| MODULES.iter().flat_map(|packed| split(packed)).collect())
}

/// The kernels of one module. What precedes the first belongs to all of them.
fn split(packed: &[u8]) -> Vec<(String, Entry)> {
    const START: &str = ".visible .entry ";
    let mut text = String::new();
    // Packed by `scripts/cuda/ptx.sh` and checked against the sources by a test: not user input.
    if flate2::read::GzDecoder::new(packed)
        .read_to_string(&mut text)
        .is_err()
    {
        return vec![];
    }
    let mut parts = text.split(START);
    let header = parts.next().unwrap_or_default();
    parts
        .map(|body| {
            let name = body.split('(').next().unwrap_or_default();
            let list = body.split(')').next().unwrap_or_default();
            let entry = Entry {
                ptx: format!("{header}{START}{body}"),
                parameters: list.split(".param ").skip(1).map(parameter_bytes).collect(),
            };
            (name.to_owned(), entry)
        })
        .collect()
}

/// `.u64 name_param_0,` to 8.
fn parameter_bytes(declaration: &str) -> usize {
    let bits: String = declaration
        .trim_start_matches(|c: char| !c.is_ascii_digit())
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    bits.parse::<usize>().unwrap_or(0) / 8
}

/// The kernels on one stream.
pub(super) struct Kernels {
    stream: Arc<CudaStream>,
    /// Kernels called before.
    known: Mutex<HashMap<String, CudaFunction>>,
}

impl Kernels {
    pub(super) fn new(stream: &Arc<CudaStream>) -> Self {
        Self {
            stream: stream.clone(),
            known: Mutex::default(),
        }
    }

    /// `dynamic`: bytes of dynamic shared memory, the same in every call of a kernel that needs much.
    fn function(&self, name: &str, dynamic: usize) -> Result<CudaFunction> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = known.get(name) {
            return Ok(function.clone());
        }
        let Some(entry) = entries().get(name) else {
            bail!("there is no CUDA kernel {name}")
        };
        let ptx = Ptx::from_src(entry.ptx.as_str());
        let module = self.stream.context().load_module(ptx).map_err(|e| {
            use sys::cudaError_enum::{CUDA_ERROR_INVALID_PTX, CUDA_ERROR_UNSUPPORTED_PTX_VERSION};
            let hint = match e.0 {
                CUDA_ERROR_INVALID_PTX | CUDA_ERROR_UNSUPPORTED_PTX_VERSION => {
                    "; CUDA 13 needs driver 580 or later"
                }
                _ => "",
            };
            Error::Msg(format!(
                "the driver does not take the kernel {name}: {e}{hint}"
            ))
        })?;
        let function = module.load_function(name).w()?;
        // More than the default must be enabled first.
        if dynamic > DEFAULT_SHARED {
            function
                .set_attribute(
                    sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                    dynamic as i32,
                )
                .w()?;
        }
        known.insert(name.to_owned(), function.clone());
        Ok(function)
    }

    /// Queues kernel `name`.
    ///
    /// The arguments' sizes are checked against the kernel's parameters; the caller ensures that pointers are valid.
    pub(super) fn launch(&self, name: &str, launch: Launch, args: &[Arg]) -> Result<()> {
        let function = self.function(name, launch.shared)?;
        let parameters = &entries()[name].parameters;
        if !args
            .iter()
            .map(|a| a.bytes())
            .eq(parameters.iter().copied())
        {
            bail!("{name}: arguments {args:?}, the kernel takes {parameters:?} bytes")
        }
        let [x, y, z] = launch.grid;
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        let mut pointers: Vec<*mut c_void> = args
            .iter()
            .map(|arg| match arg {
                Arg::Ptr(v) => std::ptr::from_ref(v).cast_mut().cast(),
                Arg::Int(v) => std::ptr::from_ref(v).cast_mut().cast(),
                Arg::Long(v) => std::ptr::from_ref(v).cast_mut().cast(),
                Arg::Float(v) => std::ptr::from_ref(v).cast_mut().cast(),
            })
            .collect();
        self.stream.context().bind_to_thread().w()?;
        let grid = (x as u32, y as u32, z as u32);
        let [bx, by, bz] = launch.block;
        // SAFETY: number and sizes of the arguments are the kernel's; the memory behind pointers is what the operations allocate.
        unsafe {
            result::launch_kernel(
                function.cu_function(),
                grid,
                (bx, by, bz),
                launch.shared as u32,
                self.stream.cu_stream(),
                &mut pointers,
            )
        }
        .map_err(|e| Error::msg(format!("{name} {launch:?}: {e}")))
    }

    /// [`Self::launch`] of the kernel for `kind`.
    pub(super) fn launch_for(
        &self,
        name: &str,
        kind: Kind,
        launch: Launch,
        args: &[Arg],
    ) -> Result<()> {
        self.launch(&format!("{name}_{}", kind.name()), launch, args)
    }
}
