//! cuDNN: descriptors and algorithm of a convolution, chosen once per size. Channels last: kernels are `[Co, kh, kw, Ci]`.

use super::buffer::{Buffer, Kind};
use super::kernels::{Arg, Kernels, Launch};
use crate::geometry::Geometry;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::cudnn::{result, result::CudnnError, sys};
use candle_core::cuda_backend::cudarc::driver::CudaStream;
use candle_core::{Error, Result};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Maximum workspace of one convolution in bytes: algorithms that need more are skipped.
const MOST_SCRATCH: usize = 1 << 30;

/// The only algorithm that adds a bias with the identity activation.
const WITH_BIAS: sys::cudnnConvolutionFwdAlgo_t =
    sys::cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;

fn failed(e: CudnnError) -> Error {
    Error::msg(format!("cuDNN: {:?}", e.0))
}

/// What to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Task {
    Forward,
    Input,
    Weight,
}

/// The descriptors and the algorithm of one convolution.
struct Plan {
    x: sys::cudnnTensorDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
    bias: sys::cudnnTensorDescriptor_t,
    w: sys::cudnnFilterDescriptor_t,
    conv: sys::cudnnConvolutionDescriptor_t,
    identity: sys::cudnnActivationDescriptor_t,
    algorithm: Algorithm,
    scratch: usize,
    /// Whether the library adds the bias itself.
    fused: bool,
}

#[derive(Clone, Copy)]
enum Algorithm {
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    Input(sys::cudnnConvolutionBwdDataAlgo_t),
    Weight(sys::cudnnConvolutionBwdFilterAlgo_t),
}

/// The library's handle and the plans so far; descriptors live as long as the process.
pub(super) struct Convolutions {
    stream: Arc<CudaStream>,
    handle: sys::cudnnHandle_t,
    plans: Mutex<HashMap<(Geometry, Kind, Task), Plan>>,
}

// SAFETY: the handle is used only under the lock of `plans`.
unsafe impl Send for Convolutions {}
// SAFETY: as above.
unsafe impl Sync for Convolutions {}

impl Convolutions {
    pub(super) fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        let handle = result::create_handle().map_err(|e| {
            Error::msg(format!(
                "cuDNN does not start: {:?}; is libcudnn.so.9 on the library path?",
                e.0
            ))
        })?;
        // SAFETY: the stream lives as long as the device.
        unsafe { result::set_stream(handle, stream.cu_stream().cast()) }.map_err(failed)?;
        Ok(Self {
            stream: stream.clone(),
            handle,
            plans: Mutex::default(),
        })
    }

    fn plans(&self) -> MutexGuard<'_, HashMap<(Geometry, Kind, Task), Plan>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    fn new(handle: sys::cudnnHandle_t, g: &Geometry, kind: Kind, task: Task) -> Result<Self> {
        Self::describe(handle, g, kind, task).map_err(|e| {
            Error::msg(format!(
                "cuDNN has no way to compute {task:?} of {g:?} in {kind:?}: {:?}",
                e.0
            ))
        })
    }

    fn describe(
        handle: sys::cudnnHandle_t,
        g: &Geometry,
        kind: Kind,
        task: Task,
    ) -> std::result::Result<Self, CudnnError> {
        use sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC as NHWC;
        let dtype = match kind {
            Kind::F32 => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
            Kind::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
        };
        // f32 convolutions are for parity: no TF32.
        let math = match kind {
            Kind::F32 => sys::cudnnMathType_t::CUDNN_FMA_MATH,
            Kind::Bf16 => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        };
        let int = |n: usize| n as c_int;
        let tensor = |dims: [usize; 4]| {
            let t = result::create_tensor_descriptor()?;
            // SAFETY: just created.
            unsafe { result::set_tensor4d_descriptor(t, NHWC, dtype, dims.map(int)) }?;
            Ok(t)
        };
        let mut plan = Self {
            x: tensor([g.batch, g.channels, g.height, g.width])?,
            y: tensor([g.batch, g.out_channels, g.out_height, g.out_width])?,
            bias: tensor([1, g.out_channels, 1, 1])?,
            w: result::create_filter_descriptor()?,
            conv: result::create_convolution_descriptor()?,
            identity: result::create_activation_descriptor()?,
            algorithm: Algorithm::Forward(WITH_BIAS),
            scratch: 0,
            fused: task == Task::Forward,
        };
        let [kh, kw] = g.kernel;
        let [top, _, left, _] = g.spec.padding;
        let stride = int(g.spec.stride);
        // SAFETY: all descriptions were created above.
        unsafe {
            let dims = [g.out_channels, g.channels, kh, kw].map(int);
            result::set_filter4d_descriptor(plan.w, dtype, NHWC, dims)?;
            result::set_convolution2d_descriptor(
                plan.conv,
                int(top),
                int(left),
                stride,
                stride,
                1,
                1,
                sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
                sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
            )?;
            result::set_convolution_math_type(plan.conv, math)?;
            result::set_activation_descriptor(
                plan.identity,
                sys::cudnnActivationMode_t::CUDNN_ACTIVATION_IDENTITY,
                sys::cudnnNanPropagation_t::CUDNN_PROPAGATE_NAN,
                0.0,
            )?;
        }
        plan.choose(handle, task)?;
        if plan.fused {
            // SAFETY: all descriptions were created above.
            let needed = unsafe {
                result::get_convolution_forward_workspace_size(
                    handle, plan.x, plan.w, plan.conv, plan.y, WITH_BIAS,
                )
            };
            match needed {
                Ok(bytes) if bytes <= MOST_SCRATCH => plan.scratch = plan.scratch.max(bytes),
                _ => plan.fused = false,
            }
        }
        Ok(plan)
    }

    /// The library's first choice that is deterministic and within the workspace limit.
    fn choose(
        &mut self,
        handle: sys::cudnnHandle_t,
        task: Task,
    ) -> std::result::Result<(), CudnnError> {
        // As many as the library has, so that a deterministic one is among them.
        const MOST: usize = 16;
        macro_rules! first {
            ($ask:ident($($by:expr),*), $size:ident, $wrap:path) => {{
                // SAFETY: plain data that the library fills in; the descriptions are whole.
                unsafe {
                    let mut found = [std::mem::zeroed(); MOST];
                    let mut count = 0;
                    result::$ask(handle, $($by,)* MOST as c_int, &mut count, found.as_mut_ptr())?;
                    let mut last = CudnnError(sys::cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED);
                    for candidate in &found[..count as usize] {
                        // The same experiment file must give the same bits.
                        if candidate.determinism != sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC {
                            continue;
                        }
                        let size = candidate
                            .status
                            .result()
                            .and_then(|()| result::$size(handle, $($by,)* candidate.algo));
                        match size {
                            Ok(bytes) if bytes <= MOST_SCRATCH => {
                                self.algorithm = $wrap(candidate.algo);
                                self.scratch = bytes;
                                return Ok(());
                            }
                            Ok(_) => {}
                            Err(e) => last = e,
                        }
                    }
                    Err(last)
                }
            }};
        }
        match task {
            Task::Forward => first!(
                get_convolution_forward_algorithm(self.x, self.w, self.conv, self.y),
                get_convolution_forward_workspace_size,
                Algorithm::Forward
            ),
            Task::Input => first!(
                get_convolution_backward_data_algorithm(self.w, self.y, self.conv, self.x),
                get_convolution_backward_data_workspace_size,
                Algorithm::Input
            ),
            Task::Weight => first!(
                get_convolution_backward_filter_algorithm(self.x, self.y, self.conv, self.w),
                get_convolution_backward_filter_workspace_size,
                Algorithm::Weight
            ),
        }
    }

    /// Queues the computation of `out` from `a` and `b`: (x, w), (w, dy) or (x, dy).
    fn run(
        &self,
        handle: sys::cudnnHandle_t,
        [a, b, out]: [u64; 3],
        bias: Option<u64>,
        scratch: u64,
    ) -> std::result::Result<(), CudnnError> {
        let (one, zero) = (1f32, 0f32);
        let one = std::ptr::from_ref(&one).cast::<c_void>();
        let zero = std::ptr::from_ref(&zero).cast::<c_void>();
        let (pa, pb) = (a as *const c_void, b as *const c_void);
        let (po, ps) = (out as *mut c_void, scratch as *mut c_void);
        let bytes = self.scratch;
        // SAFETY: the descriptions are those of the memory behind the pointers.
        unsafe {
            match (self.algorithm, bias) {
                (Algorithm::Forward(_), Some(bias)) => result::convolution_bias_activation_forward(
                    handle,
                    one,
                    self.x,
                    pa,
                    self.w,
                    pb,
                    self.conv,
                    WITH_BIAS,
                    ps,
                    bytes,
                    zero,
                    self.y,
                    po,
                    self.bias,
                    bias as *const c_void,
                    self.identity,
                    self.y,
                    po,
                ),
                (Algorithm::Forward(algorithm), None) => result::convolution_forward(
                    handle, one, self.x, pa, self.w, pb, self.conv, algorithm, ps, bytes, zero,
                    self.y, po,
                ),
                (Algorithm::Input(algorithm), _) => result::convolution_backward_data(
                    handle, one, self.w, pa, self.y, pb, self.conv, algorithm, ps, bytes, zero,
                    self.x, po,
                ),
                (Algorithm::Weight(algorithm), _) => result::convolution_backward_filter(
                    handle, one, self.x, pa, self.y, pb, self.conv, algorithm, ps, bytes, zero,
                    self.w, po,
                ),
            }
        }
    }
}

impl Convolutions {
    /// Queues one task of a convolution; a bias is added to a forward pass, by `kernels` where the library does not.
    pub(super) fn convolve(
        &self,
        kernels: &Kernels,
        (g, kind, task): (&Geometry, Kind, Task),
        pointers: [u64; 3],
        bias: Option<u64>,
    ) -> Result<()> {
        self.stream.context().bind_to_thread().w()?;
        let handle = self.handle;
        let mut plans = self.plans();
        let plan = match plans.entry((*g, kind, task)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Plan::new(handle, g, kind, task)?),
        };
        let scratch = Buffer::new(&self.stream, Kind::F32, plan.scratch.div_ceil(4))?;
        if let Some(bias) = bias.filter(|_| plan.fused) {
            match plan.run(handle, pointers, Some(bias), scratch.ptr()) {
                Ok(()) => return Ok(()),
                // Not every version and dtype supports it: then the bias is added in a separate pass.
                Err(CudnnError(
                    sys::cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED
                    | sys::cudnnStatus_t::CUDNN_STATUS_BAD_PARAM,
                )) => plan.fused = false,
                Err(e) => return Err(failed(e)),
            }
        }
        plan.run(handle, pointers, None, scratch.ptr())
            .map_err(|e| Error::msg(format!("cuDNN, {task:?} of {g:?}: {:?}", e.0)))?;
        if let Some(bias) = bias {
            let n = g.positions() * g.out_channels;
            let args = [
                Arg::Ptr(pointers[2]),
                Arg::Ptr(bias),
                Arg::int(g.out_channels),
                Arg::long(n),
            ];
            kernels.launch_for("add_bias", kind, Launch::over(n), &args)?;
        }
        Ok(())
    }
}
