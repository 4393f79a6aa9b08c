//! NVIDIA's libraries, found and opened when a GPU is first asked for.

use candle_core::Error;
use candle_kernels::cuda::{self, Function};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use std::env;
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

/// A library by its soname.
struct Wanted {
    name: &'static str,
    functions: &'static [Function],
    /// Where it is missing.
    mend: &'static str,
}

const DRIVER: Wanted = Wanted {
    name: "libcuda.so.1",
    functions: cuda::driver::FUNCTIONS,
    mend: "it belongs to NVIDIA's driver, version 580 or later; containers get it by `--gpus all` or `--nv`",
};

const PRODUCTS: Wanted = Wanted {
    name: "libcublasLt.so.13",
    functions: cuda::cublaslt::FUNCTIONS,
    mend: "`pip install nvidia-cublas` in the active environment, CUDA 13's toolkit, or its folder in LD_LIBRARY_PATH",
};

const CONVOLUTIONS: Wanted = Wanted {
    name: "libcudnn.so.9",
    functions: cuda::cudnn::FUNCTIONS,
    mend: "`pip install nvidia-cudnn-cu13` in the active environment, or its folder in LD_LIBRARY_PATH",
};

/// cuDNN compiles some of its kernels with it.
const COMPILER: &str = "libnvrtc.so.13";

/// Opens the libraries at the first call; later ones repeat its answer.
///
/// # Errors
/// A library that is not found, or not of a version that has all functions. Messages say what helps.
pub(super) fn load() -> candle_core::Result<()> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    let load = || {
        connect(&DRIVER)?;
        connect(&PRODUCTS)?;
        let _ = open(COMPILER).map(std::mem::forget);
        connect(&CONVOLUTIONS)
    };
    DONE.get_or_init(load).clone().map_err(Error::Msg)
}

fn connect(wanted: &Wanted) -> Result<(), String> {
    let Wanted {
        name,
        functions,
        mend,
    } = wanted;
    let library = open(name).map_err(|e| format!("CUDA cannot be used: {e}\n  mend: {mend}"))?;
    for (function, slot) in *functions {
        // SAFETY: nothing is called here.
        let found = unsafe { library.get::<*mut std::ffi::c_void>(function.as_bytes()) };
        let found = found.map_err(|_| {
            format!("{name} has no function {function}: it is too old\n  mend: {mend}")
        })?;
        slot.store(found.as_raw_ptr(), Ordering::Release);
    }
    // It stays for the life of the process.
    std::mem::forget(library);
    Ok(())
}

/// By the dynamic linker's own search, else from the places where toolkits and Python's wheels put it.
fn open(name: &str) -> Result<Library, String> {
    let load = |path: &Path| {
        // SAFETY: NVIDIA's libraries do nothing unusual when they are opened.
        let opened = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
        opened.map_err(|e| {
            e.source()
                .map_or_else(|| e.to_string(), ToString::to_string)
        })
    };
    let first = match load(Path::new(name)) {
        Ok(library) => return Ok(library),
        Err(e) => e,
    };
    let there = folders().into_iter().map(|folder| folder.join(name));
    match there.into_iter().find(|path| path.exists()) {
        Some(path) => load(&path),
        None => Err(first),
    }
}

fn folders() -> Vec<PathBuf> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from);
    let toolkits = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(variable);
    let toolkits = toolkits.chain([PathBuf::from("/usr/local/cuda")]);
    let mut all: Vec<PathBuf> = toolkits
        .flat_map(|root| ["lib64", "lib"].map(|lib| root.join(lib)))
        .collect();
    let pythons = ["VIRTUAL_ENV", "CONDA_PREFIX"]
        .into_iter()
        .filter_map(variable)
        .chain(variable("HOME").map(|home| home.join(".local")))
        .chain(["/usr/local", "/usr"].map(PathBuf::from));
    for python in pythons.flat_map(|root| under(&root.join("lib"), |n| n.starts_with("python3"))) {
        for packages in ["site-packages", "dist-packages"] {
            let wheels = under(&python.join(packages).join("nvidia"), |_| true);
            all.extend(wheels.into_iter().map(|wheel| wheel.join("lib")));
        }
    }
    all
}

/// The entries of a folder by name.
fn under(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|e| wanted(&e.file_name().to_string_lossy()))
        .map(|e| e.path())
        .collect();
    found.sort();
    found
}
