//! scratch: embed KIND DIR (pictures.. | --bench N)
use image::RgbImage;
use std::time::Instant;
fn main() {
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    let a: Vec<String> = std::env::args().collect();
    let dir = std::path::Path::new(&a[2]);
    let n: usize = a[3].parse().unwrap();
    let rounds: usize = a[4].parse().unwrap();
    let pictures: Vec<RgbImage> = (0..n)
        .map(|i| {
            RgbImage::from_fn(512, 512, |x, y| {
                image::Rgb([(x * 7 + i as u32) as u8, (y * 3) as u8, (x ^ y) as u8])
            })
        })
        .collect();
    let f: Box<dyn Fn() -> ndarray::Array2<f32>> = if a[1] == "vit" {
        let e = rpo_encoders::vit::VitEncoder::load(dir).unwrap();
        Box::new(move || e.embed_images(&pictures).unwrap())
    } else {
        let e = rpo_encoders::dual::DualEncoder::load(dir).unwrap();
        Box::new(move || e.embed_images(&pictures).unwrap())
    };
    for _ in 0..rounds {
        let t = Instant::now();
        let y = f();
        println!(
            "{:.1} ms  {:?}",
            t.elapsed().as_secs_f64() * 1e3,
            &y.row(0).to_vec()[..3]
        );
    }
}
