//! A thread with room for candle's recursive graph walk.

/// Bytes of address space reserved for the stack; pages are only taken when touched.
const STACK: usize = 1 << 30;

/// Runs `f` on a thread with a 1 GiB stack and returns its result; a panic of `f` continues in the caller.
///
/// `Tensor::backward` recurses once per node along the longest path of the graph, and dropping a graph recurses too,
/// so a deep network overflows the usual 2 to 8 MiB.
///
/// # Panics
/// If the operating system refuses to start the thread.
pub fn on_big_stack<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let handle = std::thread::Builder::new()
            .name("big-stack".into())
            .stack_size(STACK)
            .spawn_scoped(scope, f)
            .expect("the operating system refused a thread with a 1 GiB stack");
        match handle.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::on_big_stack;
    use candle_core::{Device, Tensor, Var};

    #[test]
    fn a_chain_of_100_000_operations_has_a_gradient() {
        let slope = on_big_stack(|| {
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

    #[test]
    #[should_panic(expected = "seen by the caller")]
    fn a_panic_reaches_the_caller() {
        on_big_stack(|| -> Tensor { panic!("seen by the caller") });
    }
}
