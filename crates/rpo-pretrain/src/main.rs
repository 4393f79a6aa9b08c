//! `rpo-pretrain unet` trains the U-Net of the embedded model, `release` decays and writes it, `score` judges it.

use std::process::ExitCode;

#[global_allocator]
static POOL: rpo_nn::Pool = rpo_nn::Pool::new();

fn main() -> ExitCode {
    // candle's elementwise thread pool spins while it waits; the kernels bring their own threads.
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: nothing else runs yet, so no other thread can read the environment meanwhile.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
    match rpo_pretrain::cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(rpo_files::failure::exit_code(&error))
        }
    }
}
