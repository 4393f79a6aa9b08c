//! Times work on request: lines `forward 16`, `step 4`, `sample 8` (or `sample 1 ddim 50`), `decode 8`, `text 8`, `score 32` on
//! standard input, milliseconds on standard output.
//! `memory 0` answers with the most bytes of the GPU used at once.
//! Arguments: a diffusers folder, and the rank of a LoRA where `step` should train one, or 0. `RPO_BENCH_DEVICE=cuda:bf16` (or
//! `cuda:f32`) puts the networks on the GPU, `RPO_BENCH_RECOMPUTE=1` computes blocks again.
//! `scripts/bench/side_by_side.py` asks this and PyTorch in turns.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rpo_bench::{Work, micro, place};
use rpo_diffusion::Solver;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::StrDeserializer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    // As rpo-train does: candle's elementwise thread pool spins while it waits.
    // SAFETY: nothing else runs yet, so no other thread can read the environment meanwhile.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    rpo_nn::on_pool(serve)
}

fn serve() -> Result<()> {
    let folder = std::env::args().nth(1).map_or_else(micro, PathBuf::from);
    let lora = std::env::args().nth(2).map(|rank| rank.parse()).transpose();
    let lora = lora.context("the second argument is the rank of a LoRA")?;
    let recompute = std::env::var_os("RPO_BENCH_RECOMPUTE").is_some();
    let rank = lora.filter(|&rank| rank > 0);
    let mut work = Work::load(&folder, rank, &place()?, recompute)?;
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let (&[what, size], how) = words.split_first_chunk().context("example: forward 16")?;
        let size: usize = size.parse().context("the size is a number")?;
        let (solver, steps) = solver_and_steps(how)?;
        let start = Instant::now();
        match what {
            "forward" => work.forward(size)?,
            "step" => work.step(size)?,
            "sample" => work.sample(size, solver, steps).map(drop)?,
            "decode" => work.decode(size).map(drop)?,
            "text" => work.text(size).map(drop)?,
            "score" => work.score(size)?,
            "memory" => {
                writeln!(out, "{}", work.peak_memory()?)?;
                out.flush()?;
                continue;
            }
            other => bail!("`{other}` is not one of forward, step, sample, decode, text, score"),
        }
        work.synchronize()?;
        writeln!(out, "{:.3}", start.elapsed().as_secs_f64() * 1e3)?;
        out.flush()?;
    }
    Ok(())
}

/// `ddim 50`; nothing is 15 steps of DPM-Solver++(2M).
fn solver_and_steps(words: &[&str]) -> Result<(Solver, usize)> {
    let [solver, steps] = *words else {
        return Ok((Solver::DpmSolverPp2m, 15));
    };
    let solver: StrDeserializer<'_, serde::de::value::Error> = solver.into_deserializer();
    let steps = steps.parse().context("the steps are a number")?;
    Ok((Solver::deserialize(solver)?, steps))
}
