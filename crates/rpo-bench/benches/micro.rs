//! The training step, the sampler, VAE, text encoder and the reward's scoring at micro size.

use criterion::{Criterion, criterion_group, criterion_main};
use rpo_bench::{Work, micro};
use rpo_diffusion::Solver;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn micro_model(_: &mut Criterion) {
    // As the program runs; criterion itself cannot move to another thread.
    rpo_nn::on_pool(|| {
        let mut criterion = Criterion::default().configure_from_args();
        let mut work = Work::load(&micro(), None, &rpo_nn::Place::default(), false)
            .expect("the embedded model loads");
        let mut group = criterion.benchmark_group("micro");
        group.sample_size(10);
        group.bench_function("U-Net forward, batch 32", |b| {
            b.iter(|| work.forward(32).expect("it runs"));
        });
        group.bench_function("step, recipe official, 4 pairs", |b| {
            b.iter(|| work.step(4).expect("it runs"));
        });
        group.bench_function("16 pictures, 15 steps, guided", |b| {
            b.iter(|| {
                let drawn = work.sample(16, Solver::DpmSolverPp2m, 15);
                drawn.expect("it runs")
            });
        });
        group.bench_function("VAE decode of 16 pictures", |b| {
            b.iter(|| work.decode(16).expect("it runs"));
        });
        group.bench_function("text states of 8 prompts", |b| {
            b.iter(|| work.text(8).expect("it runs"));
        });
        group.bench_function("reward of 32 pictures", |b| {
            b.iter(|| work.score(32).expect("it runs"));
        });
        group.finish();
    });
}

criterion_group!(benches, micro_model);
criterion_main!(benches);
