//! cudarc asks the linker for NVIDIA's libraries. Their functions are those of `src/cuda.rs`; the linker gets empty archives under the
//! libraries' names.

use std::{env, fs, path::PathBuf};

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    for name in ["cuda", "nvrtc", "curand", "cublas", "cublasLt", "cudnn"] {
        fs::write(out.join(format!("lib{name}.a")), "!<arch>\n")?;
    }
    println!("cargo:rustc-link-search=native={}", out.display());
    Ok(())
}
