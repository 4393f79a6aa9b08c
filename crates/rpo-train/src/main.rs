//! `rpo-train FILE` runs an experiment; `rpo-train help` lists the other verbs.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // candle's elementwise thread pool spins while waiting; the kernels have their own threads.
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: no other thread exists yet, so none can read the environment meanwhile.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
    // Run inside the pool: work submitted from outside would be handed over and waited for.
    match rpo_nn::on_pool(|| rpo_train::cli::main(std::env::args())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // It may hold names from foreign files.
            let message = format!("{error:#}");
            eprintln!("error: {}", rpo_files::printable::printable_lines(&message));
            ExitCode::from(rpo_files::failure::exit_code(&error))
        }
    }
}
