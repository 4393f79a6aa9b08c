//! Times image towers on request: a number of pictures a line on standard input, milliseconds on standard output.
//! Argument: the folder of an ALIGN, CLIP or ViT model. `RPO_BENCH_DEVICE=cuda:f32` puts it on the GPU. `scripts/bench/encoders.py` asks this and PyTorch in turns.

use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use rpo_data::random;
use rpo_encoders::dual::DualTowers;
use rpo_encoders::vit::VitModel;

enum Tower {
    Dual(Box<DualTowers>),
    Vit(Box<VitModel>),
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    // As rpo-train does: candle's elementwise thread pool spins while it waits.
    // SAFETY: nothing else runs yet, so no other thread can read the environment meanwhile.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    let mut args = std::env::args().skip(1);
    let folder = args.next().context("the folder of an encoder")?;
    let side: usize = args.next().context("the side of its pictures")?.parse()?;
    let folder = Path::new(&folder);
    let place = rpo_bench::place()?;
    let tower = match DualTowers::load(folder, &place) {
        Ok(towers) => Tower::Dual(Box::new(towers)),
        Err(e) => Tower::Vit(Box::new(VitModel::load(folder, &place).map_err(|_| e)?)),
    };
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let n: usize = line?.trim().parse().context("the number of pictures")?;
        let values = random::normal(&mut random::stream(0, "bench", &[]), n * side * side * 3);
        let pixels = Tensor::from_vec(values, (n, side, side, 3), &Device::Cpu)?;
        let start = Instant::now();
        match &tower {
            Tower::Dual(towers) => towers.image_features(&pixels)?,
            Tower::Vit(model) => model.class_token(&pixels)?,
        };
        writeln!(out, "{:.3}", start.elapsed().as_secs_f64() * 1e3)?;
        out.flush()?;
    }
    Ok(())
}
