//! The blocks of a U-Net at three resolutions, forward and with backward: the embedded model's, batch 8, and those of Stable
//! Diffusion 1.5 at 64x64 latents, batch 1. Random weights.

use candle_core::{Device, Result, Tensor, Var};
use criterion::{Criterion, criterion_group, criterion_main};
use rpo_bench::micro;
use rpo_data::random;
use rpo_diffusion::UNetConfig;
use rpo_diffusion::unet::Block;
use rpo_nn::Tape;
use rpo_nn::weights::{Params, Scope};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Build = fn(&UNetConfig, &Scope, usize) -> Result<Block>;

fn normal(name: &str, dims: &[usize], scale: f32) -> Result<Tensor> {
    let n = dims.iter().product();
    let mut values = random::normal(&mut random::stream(0, "block", &[name]), n);
    values.iter_mut().for_each(|v| *v *= scale);
    Tensor::from_vec(values, dims, &Device::Cpu)
}

/// A block with weights of its own.
fn random_block(config: &UNetConfig, build: Build, level: usize, train: bool) -> Result<Block> {
    let blank = Params::blank("block");
    build(config, &blank.root(), level)?;
    let tensors = blank.shapes().into_iter().map(|(name, shape)| {
        let tensor = normal(&name, &shape, 0.02)?;
        Ok((name, tensor))
    });
    let params = Params::from_tensors(tensors.collect::<Result<Vec<_>>>()?, "block", train)?;
    build(config, &params.root(), level)
}

/// `words`: length of the text.
fn blocks(
    c: &mut Criterion,
    model: &str,
    config: &UNetConfig,
    batch: usize,
    words: usize,
) -> Result<()> {
    let outer = config.sample_size.unwrap_or(64);
    let width = config.cross_attention_dim;
    for level in 0..3 {
        let channels = &config.block_out_channels;
        let (side, co) = (outer >> level, channels[level]);
        let kinds: [(&str, Build, usize); 2] = [
            ("ResNet", Block::resnet, channels[level.saturating_sub(1)]),
            ("transformer", Block::transformer, co),
        ];
        for (kind, build, ci) in kinds {
            let x = normal("x", &[batch, side, side, ci], 1.0)?;
            let time = normal("time", &[batch, config.time_embed_dim()], 1.0)?;
            let text = normal("text", &[batch, words, width], 1.0)?;
            let frozen = random_block(config, build, level, false)?;
            let trained = random_block(config, build, level, true)?;
            let name = format!("{model}, {kind} block, {side}x{side}x{co}, batch {batch}");
            c.bench_function(&format!("{name}, forward"), |b| {
                b.iter(|| frozen.forward(&x, &time, &text).expect("shapes fit"));
            });
            c.bench_function(&format!("{name}, forward and backward"), |b| {
                // Inside a U-Net the gradient goes on to what comes before.
                let var = |t| Ok(Var::from_tensor(t)?.into_inner());
                let inputs: Result<Vec<Tensor>> = [&x, &time].into_iter().map(var).collect();
                let inputs = inputs.expect("f32");
                b.iter(|| -> Result<_> {
                    let tape = Tape::new(false)?;
                    let y = tape.record(|| trained.forward(&inputs[0], &inputs[1], &text))?;
                    tape.backward(&y)
                });
            });
        }
    }
    Ok(())
}

fn all(_: &mut Criterion) {
    rpo_nn::on_pool(|| {
        let mut c = Criterion::default().sample_size(10).configure_from_args();
        let config = UNetConfig::load(&micro().join("unet/config.json")).expect("it is there");
        blocks(&mut c, "micro", &config, 8, 24).expect("shapes fit");
        let text = include_str!("../../../experiments/presets/sd15.unet.json");
        let config = UNetConfig::from_json(text, "sd15").expect("it is valid");
        blocks(&mut c, "SD 1.5", &config, 1, 77).expect("shapes fit");
    });
}

criterion_group!(benches, all);
criterion_main!(benches);
