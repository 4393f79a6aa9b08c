//! The functions of CUDA that programs of this project call: each a jump to the address that was stored for it.
//!
//! candle-core and cudarc's declarations expect them from the linker. Were the libraries linked, building would need them, and no program
//! would start where one is missing. So the functions are defined here, `build.rs` gives the linker empty libraries, and the program finds
//! the real ones when it opens a GPU and stores the addresses of their functions.

use std::arch::naked_asm;
use std::ffi::c_void;
use std::sync::atomic::AtomicPtr;

/// A name, and the address that calls of the function jump to.
pub type Function = (&'static str, &'static AtomicPtr<c_void>);

extern "C" fn not_loaded() -> ! {
    eprintln!("a CUDA function was called before the libraries were loaded");
    std::process::abort()
}

macro_rules! functions {
    ($(#[$about:meta])* $module:ident: $($name:ident)*) => {
        $(#[$about])*
        #[allow(non_snake_case, non_upper_case_globals)]
        pub mod $module {
            use super::{AtomicPtr, Function, c_void, naked_asm, not_loaded};

            mod slots {
                use super::{AtomicPtr, c_void, not_loaded};
                $(pub(super) static $name: AtomicPtr<c_void> = AtomicPtr::new(not_loaded as *const () as *mut c_void);)*
            }

            $(
                // SAFETY: the only definition of the name; arguments and stack are as its caller left them.
                #[unsafe(naked)]
                #[unsafe(no_mangle)]
                unsafe extern "C" fn $name() {
                    #[cfg(target_arch = "x86_64")]
                    naked_asm!("jmp qword ptr [rip + {}]", sym slots::$name);
                    #[cfg(target_arch = "aarch64")]
                    naked_asm!(
                        "adrp x16, {0}",
                        "ldr x16, [x16, :lo12:{0}]",
                        "br x16",
                        sym slots::$name
                    );
                }
            )*

            /// All of them. Every call before an address is stored ends the program.
            pub static FUNCTIONS: &[Function] = &[$((stringify!($name), &slots::$name)),*];
        }
    };
}

functions! {
    /// `libcuda`.
    driver:
    cuCtxGetCurrent cuCtxSetCurrent cuCtxSynchronize cuDeviceGet cuDeviceGetAttribute cuDeviceGetCount
    cuDeviceGetDefaultMemPool cuDeviceGetName cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxRetain cuDeviceTotalMem_v2 cuDriverGetVersion cuEventCreate
    cuEventDestroy_v2 cuEventRecord cuFuncSetAttribute cuGetErrorName cuGetErrorString cuInit cuLaunchKernel cuMemAllocAsync cuMemAlloc_v2
    cuMemFreeAsync cuMemFree_v2 cuMemGetInfo_v2 cuMemPoolGetAttribute cuMemPoolSetAttribute cuMemcpyDtoDAsync_v2 cuMemcpyDtoHAsync_v2
    cuMemcpyHtoDAsync_v2 cuModuleGetFunction cuModuleLoadData cuModuleUnload
    cuStreamCreate cuStreamDestroy_v2 cuStreamIsCapturing cuStreamSynchronize cuStreamWaitEvent
}

functions! {
    /// `libcublasLt`.
    cublaslt:
    cublasLtCreate cublasLtDestroy cublasLtMatmul cublasLtMatmulAlgoGetHeuristic cublasLtMatmulDescCreate cublasLtMatmulDescDestroy
    cublasLtMatmulDescSetAttribute cublasLtMatmulPreferenceCreate cublasLtMatmulPreferenceDestroy cublasLtMatmulPreferenceSetAttribute
    cublasLtMatrixLayoutCreate cublasLtMatrixLayoutDestroy
}

functions! {
    /// `libcudnn`.
    cudnn:
    cudnnConvolutionBackwardData cudnnConvolutionBackwardFilter cudnnConvolutionBiasActivationForward cudnnConvolutionForward
    cudnnCreate cudnnCreateActivationDescriptor cudnnCreateConvolutionDescriptor cudnnCreateFilterDescriptor cudnnCreateTensorDescriptor
    cudnnDestroy cudnnDestroyActivationDescriptor cudnnDestroyConvolutionDescriptor cudnnDestroyFilterDescriptor
    cudnnDestroyTensorDescriptor cudnnGetConvolutionBackwardDataAlgorithm_v7 cudnnGetConvolutionBackwardDataWorkspaceSize
    cudnnGetConvolutionBackwardFilterAlgorithm_v7 cudnnGetConvolutionBackwardFilterWorkspaceSize
    cudnnGetConvolutionForwardAlgorithm_v7 cudnnGetConvolutionForwardWorkspaceSize cudnnSetActivationDescriptor
    cudnnSetConvolution2dDescriptor cudnnSetConvolutionMathType cudnnSetFilter4dDescriptor cudnnSetStream cudnnSetTensor4dDescriptor
    cudnnSetTensor4dDescriptorEx
}

/// What candle-core calls in operations of its own, and libraries that it opens with every device, of which this project uses none:
/// they open, everything else is an error.
#[allow(non_snake_case)]
mod unused {
    use std::ffi::c_void;

    macro_rules! answers {
        ($($status:literal: $($name:ident)*;)*) => {$($(
            // SAFETY: the only definition of the name; the arguments are not looked at.
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> u32 {
                $status
            }
        )*)*};
    }

    answers! {
        0: cublasDestroy_v2 cublasSetStream_v2 curandDestroyGenerator curandSetPseudoRandomGeneratorSeed curandSetStream;
        // CUDA_ERROR_NOT_SUPPORTED
        801: cuCtxDestroy_v2 cuMemcpyPeerAsync cuMemsetD8Async cuModuleLoad;
        // CUBLAS_STATUS_NOT_SUPPORTED
        15: cublasDgemmStridedBatched cublasGemmStridedBatchedEx;
        // CURAND_STATUS_INITIALIZATION_FAILED
        203: curandGenerateNormal curandGenerateNormalDouble curandGenerateUniform curandGenerateUniformDouble;
    }

    // SAFETY: as above.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn cublasCreate_v2(handle: *mut *mut c_void) -> u32 {
        // SAFETY: cudarc's caller gives a pointer to its handle, which only the functions above receive.
        unsafe { *handle = std::ptr::dangling_mut() };
        0
    }

    // SAFETY: as above.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn curandCreateGenerator(generator: *mut *mut c_void, _kind: u32) -> u32 {
        // SAFETY: as above.
        unsafe { *generator = std::ptr::dangling_mut() };
        0
    }
}
