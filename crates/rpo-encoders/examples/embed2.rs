//! scratch: gemm shapes
use candle_core::{Device, Tensor};
use rpo_nn::ops;
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    s.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}
fn main() {
    let t = |d: &[usize]| Tensor::randn(0f32, 1.0, d, &Device::Cpu).unwrap();
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()
        .unwrap();
    let b: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    for (h, i, e, o) in [
        (145, 32, 192, 48),
        (73, 48, 288, 48),
        (37, 80, 480, 80),
        (19, 160, 960, 160),
        (19, 224, 1344, 224),
        (10, 384, 2304, 384),
        (10, 640, 3840, 640),
    ] {
        for (i, o) in [(i, e), (e, o)] {
            let (x, w, bias) = (t(&[b * h * h, i]), t(&[o, i]), t(&[o]));
            let mut best = f64::MAX;
            for _ in 0..5 {
                let c = cpu();
                std::hint::black_box(ops::linear(&x, &w, Some(&bias)).unwrap());
                best = best.min(cpu() - c);
            }
            let flop = 2.0 * (b * h * h * i * o) as f64;
            println!(
                "{h:4} {i:5} {o:5}  {best:8.2} ms {:7.1} GFLOP/s",
                flop / best / 1e6
            );
        }
    }
}
