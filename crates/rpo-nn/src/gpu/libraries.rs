//! NVIDIA's libraries, found and opened when a GPU is first used.

use candle_core::Error;
use candle_kernels::cuda::{self, Function};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::env;
use std::error::Error as _;
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

/// A library by its soname.
struct Wanted {
    name: &'static str,
    functions: &'static [Function],
    /// The function that returns its CUDA version; other libraries have it in their names.
    version: Option<&'static [u8]>,
    /// Hint if it is missing.
    hint: &'static str,
}

const DRIVER: Wanted = Wanted {
    name: "libcuda.so.1",
    functions: cuda::driver::FUNCTIONS,
    version: None,
    hint: "it belongs to NVIDIA's driver, version 580 or later; containers get it by `--gpus all` or `--nv`",
};

const PRODUCTS: Wanted = Wanted {
    name: "libcublasLt.so.13",
    functions: cuda::cublaslt::FUNCTIONS,
    version: None,
    hint: "`pip install nvidia-cublas` in the active environment, CUDA 13's toolkit, or its folder in LD_LIBRARY_PATH",
};

const CONVOLUTIONS: Wanted = Wanted {
    name: "libcudnn.so.9",
    functions: cuda::cudnn::FUNCTIONS,
    version: Some(b"cudnnGetCudartVersion"),
    hint: "`pip install nvidia-cudnn-cu13` in the active environment, or its folder in LD_LIBRARY_PATH",
};

/// cuDNN compiles some of its kernels with it.
const COMPILER: &str = "libnvrtc.so.13";

/// Opens the libraries at the first call; later calls return the same result.
///
/// # Errors
/// If a library is missing or of another version, with a hint.
pub(super) fn load() -> candle_core::Result<()> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    let load = || {
        connect(&DRIVER)?;
        connect(&PRODUCTS)?;
        // Open libraries are then found by name.
        let _ = candidates(COMPILER).find_map(|path| open(&path).ok().map(std::mem::forget));
        connect(&CONVOLUTIONS)
    };
    DONE.get_or_init(load).clone().map_err(Error::Msg)
}

/// Uses the first candidate that has all functions.
fn connect(wanted: &Wanted) -> Result<(), String> {
    let mut refused = vec![];
    for path in candidates(wanted.name) {
        match open(&path).and_then(|library| wanted.take(library, &path)) {
            Ok(()) => return Ok(()),
            Err(e) => refused.push(e),
        }
    }
    Err(format!(
        "CUDA cannot be used: {}\n  hint: {}",
        refused.join("; "),
        wanted.hint
    ))
}

impl Wanted {
    /// Stores the addresses of the functions; the library stays open for the life of the process.
    fn take(&self, library: Library, path: &Path) -> Result<(), String> {
        let path = path.display();
        if let Some(name) = self.version {
            // SAFETY: a function without arguments that returns a number.
            let version = unsafe { library.get::<unsafe extern "C" fn() -> usize>(name) };
            // SAFETY: as above.
            let version = version.map(|version| unsafe { version() }).unwrap_or(0);
            if version / 1000 != 13 {
                return Err(format!("{path} is one for CUDA {}, not 13", version / 1000));
            }
        }
        let mut found = Vec::with_capacity(self.functions.len());
        for (name, slot) in self.functions {
            // SAFETY: nothing is called here.
            match unsafe { library.get::<*mut c_void>(name.as_bytes()) } {
                Ok(address) => found.push((slot, address.as_raw_ptr())),
                Err(_) => return Err(format!("{path} has no function {name}: it is too old")),
            }
        }
        for (slot, address) in found {
            slot.store(address, Ordering::Release);
        }
        std::mem::forget(library);
        Ok(())
    }
}

fn open(path: &Path) -> Result<Library, String> {
    // SAFETY: NVIDIA's libraries do nothing unusual when they are opened.
    let opened = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    opened.map_err(|e| {
        e.source()
            .map_or_else(|| e.to_string(), ToString::to_string)
    })
}

/// The bare name for the dynamic linker, then the paths used by toolkits and Python wheels.
fn candidates(name: &str) -> impl Iterator<Item = PathBuf> {
    let files = folders().into_iter().map(|folder| folder.join(name));
    let files: Vec<PathBuf> = files.filter(|path| path.exists()).collect();
    [PathBuf::from(name)].into_iter().chain(files)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the loader looks where the system's own does: in what LD_LIBRARY_PATH and its kin say"
)]
fn folders() -> Vec<PathBuf> {
    let variable = |name: &str| env::var_os(name).map(PathBuf::from);
    let toolkits = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(variable);
    let toolkits = toolkits.chain(["/usr/local/cuda", "/opt/cuda"].map(PathBuf::from));
    let toolkits = toolkits.chain(variable("CONDA_PREFIX"));
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
