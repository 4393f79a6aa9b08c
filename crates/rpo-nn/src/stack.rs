//! Runs the program on a thread of the kernels' pool.

/// Bytes of address space reserved for each stack; pages are only taken when touched.
const STACK: usize = 1 << 30;

/// Runs `f` on a thread of rayon's global pool and returns its result; a panic of `f` continues in the caller.
///
/// A kernel called from outside the pool hands its work over and sleeps until it is woken: at the size of the embedded model 5 to
/// 12 % of the time went to the operating system's scheduler. The pool's threads have stacks of 1 GiB: candle's `Tensor::backward`
/// recurses once per node along the longest path of the graph, and so does dropping a graph.
///
/// The pool has `RAYON_NUM_THREADS` threads, or else one per core. If it was started before, its stacks stay as they are.
pub fn on_pool<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    on_pool_of(0, f)
}

/// [`on_pool`] with this many threads; 0 for its default. If the pool was started before, its threads stay as they are.
pub fn on_pool_of<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
    let _ = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .stack_size(STACK)
        .build_global();
    // `install` on the global pool.
    let mut result = None;
    rayon::scope(|scope| scope.spawn(|_| result = Some(f())));
    result.expect("the scope waits for what it spawned")
}

#[cfg(test)]
mod tests {
    use super::on_pool;

    #[test]
    fn the_function_runs_on_the_pool() {
        assert!(on_pool(|| rayon::current_thread_index().is_some()));
    }

    #[test]
    #[should_panic(expected = "seen by the caller")]
    fn a_panic_reaches_the_caller() {
        on_pool(|| -> u8 { panic!("seen by the caller") });
    }
}
