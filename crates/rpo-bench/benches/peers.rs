//! Ours beside candle-transformers' networks and candle-nn's layers and AdamW, on the same weights and inputs. `RAYON_NUM_THREADS`
//! sets the threads of both sides' products, `CANDLE_NUM_THREADS` those of candle's elementwise loops, which spin while they wait.
//! Both sides have the program's allocator.

use candle_core::{Device, Result, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use rpo_bench::{micro, peers};
use rpo_diffusion::{Conditioning, UNet2DConditionModel, load_unet, load_vae};
use rpo_encoders::clip::{ClipTextConfig, ClipTextModel};
use rpo_nn::optim::{self, AdamWConfig};
use rpo_nn::weights::Params;
use rpo_nn::{Place, Tape};
use std::path::Path;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// One line of the table.
fn both(
    group: &mut Group,
    what: &str,
    mut ours: impl FnMut() -> Result<Tensor>,
    mut theirs: impl FnMut() -> Result<Tensor>,
) {
    group.bench_function(format!("{what}, ours"), |b| {
        b.iter(|| ours().expect("it runs"));
    });
    group.bench_function(format!("{what}, candle"), |b| {
        b.iter(|| theirs().expect("it runs"));
    });
}

/// The embedded U-Net, with GroupNorms of 32 groups.
fn unet(group: &mut Group, dir: &Path) -> Result<()> {
    let (config, params) = load_unet(dir, None)?;
    let inputs = |batch: usize| -> Result<_> {
        let x = peers::normal("latents", &[batch, 16, 16, 4])?;
        let text = peers::normal("text", &[batch, 24, config.cross_attention_dim])?;
        Ok((peers::channels_first(&x)?, x, text))
    };
    let (their_x, x, text) = inputs(8)?;
    let states = Conditioning::from(text.clone());
    let ours = UNet2DConditionModel::new(&config, &params.root())?;
    let theirs = peers::unet(dir)?;
    both(
        group,
        "U-Net forward, batch 8",
        || ours.forward(&x, &[481.0], &states),
        || theirs.forward(&their_x, 481.0, &text),
    );

    let (their_x, x, text) = inputs(2)?;
    let states = Conditioning::from(text.clone());
    let params = params.deep_copy(true)?;
    let ours = UNet2DConditionModel::new(&config, &params.root())?;
    let (theirs, _) = peers::trainable_unet(dir)?;
    both(
        group,
        "U-Net forward and backward, batch 2",
        || {
            let tape = Tape::new(false)?;
            let loss = ours.forward_on(&tape, &x, &[481.0], &states)?.sqr()?;
            tape.backward(&loss.mean_all()?)?;
            Ok(loss)
        },
        || {
            let loss = theirs.forward(&their_x, 481.0, &text)?.sqr()?;
            loss.mean_all()?.backward()?;
            Ok(loss)
        },
    );
    Ok(())
}

fn vae(group: &mut Group, dir: &Path) -> Result<()> {
    // Of more than one picture they make wrong ones: see `peers::vae`.
    let z = peers::normal("z", &[1, 16, 16, 4])?;
    let their_z = peers::channels_first(&z)?;
    let (ours, theirs) = (load_vae(dir, None, &Place::default())?, peers::vae(dir)?);
    both(
        group,
        "VAE decode, a picture of 128 pixels",
        || ours.decode(&z),
        || theirs.decode(&their_z),
    );
    Ok(())
}

fn clip_text(group: &mut Group) -> Result<()> {
    let dir = micro().join("text_encoder");
    let config = ClipTextConfig::load(&dir)?;
    let params = Params::open(&dir.join("model.safetensors"), false)?;
    let ours = ClipTextModel::new(&config, &params.root(), &Place::default())?;
    let theirs = peers::clip_text(&dir)?;
    let (rows, length) = (8, config.max_position_embeddings);
    let id = |row: usize, i: usize| ((row * 131 + i * 37) % config.vocab_size) as u32;
    let ids: Vec<Vec<u32>> = (0..rows)
        .map(|row| (0..length).map(|i| id(row, i)).collect())
        .collect();
    let flat = Tensor::from_vec(ids.concat(), (rows, length), &Device::Cpu)?;
    both(
        group,
        "CLIP text, 8 prompts",
        || Ok(ours.forward(&ids)?.last_hidden_state),
        || theirs.forward_with_mask(&flat, usize::MAX),
    );
    Ok(())
}

fn layers(group: &mut Group) -> Result<()> {
    for kind in peers::Kind::ALL {
        let [ours, theirs] = peers::pair(kind, false)?;
        both(
            group,
            &format!("{kind:?} forward"),
            || ours.forward(),
            || theirs.forward(),
        );
        let [ours, theirs] = peers::pair(kind, true)?;
        // From a gradient of ones: the loss is not what is timed.
        let backward = |side: &peers::Side| {
            let y = side.forward()?;
            y.backward()?;
            Ok(y)
        };
        both(
            group,
            &format!("{kind:?} forward and backward"),
            || backward(&ours),
            || backward(&theirs),
        );
    }
    Ok(())
}

/// A step on all weights of the embedded U-Net.
fn adamw(group: &mut Group, dir: &Path) -> Result<()> {
    let (config, params) = load_unet(dir, None)?;
    let params = params.deep_copy(true)?;
    // The variables are known once the network has asked for them.
    UNet2DConditionModel::new(&config, &params.root())?;
    let ours = params.vars();
    let (_, theirs) = peers::trainable_unet(dir)?;
    // A gradient for each: that of half the sum of squares.
    let gradients = |vars: &[(String, candle_core::Var)]| {
        let mut sum = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu)?;
        for (_, var) in vars {
            sum = (sum + (var.sqr()? * 0.5)?.sum_all()?)?;
        }
        sum.backward()
    };
    let (our_grads, their_grads) = (gradients(&ours)?, gradients(&theirs)?);
    let mut our_steps = optim::AdamW::new(AdamWConfig::default(), ours)?;
    let vars: Vec<_> = theirs.into_iter().map(|(_, var)| var).collect();
    let done = vars[0].as_tensor().clone();
    let mut their_steps = AdamW::new(vars, ParamsAdamW::default())?;
    both(
        group,
        "AdamW, 6.1 M weights",
        || our_steps.step(&our_grads, 1.0).map(|()| done.clone()),
        || their_steps.step(&their_grads).map(|()| done.clone()),
    );
    Ok(())
}

fn all(_: &mut Criterion) {
    // As the program runs; criterion itself cannot move to another thread.
    rpo_nn::on_pool(|| {
        let at = tempfile::tempdir().expect("a folder");
        let micro_unet = at.path().join("micro");
        peers::small_sd(at.path()).expect("it can be written");
        peers::micro_unet_of_32_groups(&micro_unet).expect("it can be written");
        let mut criterion = Criterion::default()
            .sample_size(10)
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_millis(800))
            .configure_from_args();
        let mut group = criterion.benchmark_group("peers");
        unet(&mut group, &micro_unet).expect("it runs");
        vae(&mut group, &at.path().join("vae")).expect("it runs");
        clip_text(&mut group).expect("it runs");
        layers(&mut group).expect("it runs");
        adamw(&mut group, &micro_unet).expect("it runs");
        group.finish();
    });
}

criterion_group!(benches, all);
criterion_main!(benches);
