//! `rpo-train FILE` runs an experiment; `rpo-train help` lists the other verbs.

use anyhow::Context;
use rpo_files::program;
use std::process::ExitCode;

const NO_THREADS: &str = "the threads cannot be started\n  hint: allow more memory (`ulimit -v`) or processes (`ulimit -u`), or set RAYON_NUM_THREADS lower";

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // candle's elementwise thread pool spins while waiting; the kernels have their own threads.
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: no other thread exists yet, so none can read the environment meanwhile.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
    // Errors of libraries are messages; with RUST_BACKTRACE candle would add a trace to each. Panics keep theirs.
    if std::env::var_os("RUST_LIB_BACKTRACE").is_none() {
        // SAFETY: as above.
        unsafe { std::env::set_var("RUST_LIB_BACKTRACE", "0") };
    }
    rpo_train::interrupt::end_aborts();
    program::run(concat!("rpo-train ", env!("CARGO_PKG_VERSION")), || {
        // Inside the pool: work submitted from outside would be handed over and waited for.
        let ended = rpo_nn::on_pool_of(0, || rpo_train::cli::main(std::env::args_os()));
        ended.context(NO_THREADS)?
    })
}
