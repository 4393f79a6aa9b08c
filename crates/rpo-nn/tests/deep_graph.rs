//! In a separate binary: the pool's stack size is set by whoever starts it.

use candle_core::{Device, Var};

#[test]
fn a_chain_of_100_000_operations_has_a_gradient() {
    let slope = rpo_nn::on_pool(|| {
        let x = Var::new(1f32, &Device::Cpu).unwrap();
        let mut y = x.as_tensor().clone();
        for _ in 0..100_000 {
            y = (y + 1.0).unwrap();
        }
        let grads = y.backward().unwrap();
        grads.get(&x).unwrap().to_scalar::<f32>().unwrap()
    });
    assert_eq!(slope, 1.0);
}
