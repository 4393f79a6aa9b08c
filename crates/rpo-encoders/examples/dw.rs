//! scratch
use candle_core::{Device, Tensor};
use rpo_nn::ops::{self, ConvSpec};
fn main() {
    let t = |d: &[usize]| Tensor::randn(0f32, 1.0, d, &Device::Cpu).unwrap();
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()
        .unwrap();
    for (h, c, k, s) in [
        (145, 64, 3, 1),
        (145, 192, 3, 2),
        (73, 288, 3, 1),
        (73, 288, 5, 2),
        (37, 480, 5, 1),
        (37, 480, 3, 2),
        (19, 960, 3, 1),
        (19, 1344, 5, 1),
        (10, 2304, 5, 1),
        (10, 3840, 3, 1),
    ] {
        let (x, w, bias) = (t(&[1, h, h, c]), t(&[k, k, c]), t(&[c]));
        let mut best = f64::MAX;
        for _ in 0..30 {
            let c = std::time::Instant::now();
            std::hint::black_box(
                ops::depthwise_conv2d(&x, &w, Some(&bias), ConvSpec::new(s, k / 2)).unwrap(),
            );
            best = best.min(c.elapsed().as_secs_f64() * 1e3);
        }
        let o = h.div_ceil(s);
        println!(
            "{h:4} {c:5} {k} {s}  {best:8.3} ms {:7.1} GFLOP/s, {:6.2} cycles a vector of outputs",
            2.0 * (o * o * c * k * k) as f64 / best / 1e6,
            best * 1e-3 * 3.5e9 / ((o * o * c) as f64 / 16.0)
        );
    }
}
