//! `rpo-train FILE` runs an experiment; `rpo-train help` lists the other verbs.

use std::process::ExitCode;

#[global_allocator]
static POOL: rpo_nn::Pool = rpo_nn::Pool::new();

fn main() -> ExitCode {
    // candle's elementwise thread pool spins while it waits; the kernels bring their own threads.
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: nothing else runs yet, so no other thread can read the environment meanwhile.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
    // Work that comes from outside the pool is handed over and waited for.
    match rpo_nn::on_pool(|| rpo_train::cli::main(std::env::args())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(rpo_files::failure::exit_code(&error))
        }
    }
}
