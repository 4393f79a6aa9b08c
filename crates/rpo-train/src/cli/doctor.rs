//! `rpo-train doctor`: hardware of this machine and models found on it.

use crate::device;
use crate::embedded;
use crate::hub::Environment;
use crate::paths;
use anyhow::Result;
use rpo_files::say;
use std::path::Path;

/// Prints threads, SIMD level, device, the embedded model and the folder it is unpacked into.
pub(super) fn doctor() -> Result<()> {
    say!("rpo-train  {}", env!("CARGO_PKG_VERSION"));
    say!(
        "threads    {} (RAYON_NUM_THREADS changes it; the bits of a run do not depend on it)",
        rayon::current_num_threads()
    );
    say!("SIMD       {}", rpo_nn::simd_level());
    say!("kernels    version {}", rpo_nn::KERNELS_VERSION);
    let device = match device::open("auto", "auto") {
        Ok(chosen) => match device::describe(&chosen.place, &chosen.keys) {
            Some(name) => name,
            None => chosen.note.unwrap_or_else(|| {
                "cpu (this program was built without CUDA: cargo run --features cuda)".into()
            }),
        },
        Err(e) => format!("{e:#}"),
    };
    say!("device     {device}");
    let copy = match embedded::copy() {
        Ok(copy) => format!("unpacked in {} (RPO_CACHE moves it)", copy.display()),
        Err(e) => format!("{e:#}"),
    };
    say!("embedded   micro, {}; {copy}", embedded::describe());
    for (what, name) in [
        ("model", "micro"),
        ("reward", "micro/reward"),
        ("CLIP judge", "micro/eval_clip"),
        ("ViT judge", "micro/eval_dino"),
    ] {
        match paths::find(name, Path::new(".")) {
            Ok(path) => say!("{what:<10} {}", path.display()),
            Err(e) => say!("{what:<10} `{name}`: {e:#}"),
        }
    }
    let environment = Environment::of_process();
    let hub = match (cfg!(feature = "hub"), environment.offline) {
        (false, _) => "this build does not ask the hub",
        (true, true) => "HF_HUB_OFFLINE is set",
        (true, false) => "what it lacks is fetched",
    };
    say!("hub cache  {} ({hub})", environment.cache.display());
    Ok(())
}
