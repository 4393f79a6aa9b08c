//! `rpo-pretrain unet` trains the U-Net of the embedded model, `release` decays the rate and writes it, `score` scores it.

use rpo_files::program;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // candle's elementwise thread pool spins while waiting; the kernels have their own threads.
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: no other thread exists yet, so none can read the environment meanwhile.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
    let name = concat!("rpo-pretrain ", env!("CARGO_PKG_VERSION"));
    program::run(name, rpo_pretrain::cli::main)
}
