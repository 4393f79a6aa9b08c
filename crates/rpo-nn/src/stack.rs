//! Runs the program on a thread of the kernels' pool.

use rayon::{ThreadBuilder, ThreadPoolBuilder};
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;

/// Bytes of address space reserved for each stack, the first that there is room for; pages are only taken when touched.
const STACKS: [usize; 4] = [1 << 30, 1 << 28, 1 << 26, 1 << 24];

/// Runs `f` on a thread of rayon's global pool and returns its result; a panic of `f` continues in the caller.
///
/// A kernel called from outside the pool hands its work over and sleeps until it is woken: at the size of the embedded model 5 to
/// 12 % of the time went to the operating system's scheduler. The pool's threads have stacks of 1 GiB: candle's `Tensor::backward`
/// recurses once per node along the longest path of the graph, and so does dropping a graph.
///
/// Where address space is limited (`ulimit -v`) stacks are smaller: half of what is left is for everything else.
///
/// The pool has `RAYON_NUM_THREADS` threads, or else one per core. If it was started before, its stacks stay as they are.
///
/// # Panics
/// If the threads cannot be started; a program calls [`on_pool_of`].
pub fn on_pool<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    on_pool_of(0, f).expect("the threads start")
}

/// [`on_pool`] with this many threads; 0 for its default. If the pool was started before, its threads stay as they are.
///
/// # Errors
/// If the system starts no threads.
pub fn on_pool_of<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> io::Result<T> {
    let builder = ThreadPoolBuilder::new().num_threads(threads);
    if let Err(e) = builder.spawn_handler(start).build_global()
        && let Some(e) = e.source()
    {
        return Err(io::Error::other(e.to_string()));
    }
    // `install` on the global pool.
    let mut result = None;
    rayon::scope(|scope| scope.spawn(|_| result = Some(f())));
    Ok(result.expect("the scope waits for what it spawned"))
}

/// Starts a thread of the pool with the largest stack that leaves as much free.
fn start(work: ThreadBuilder) -> io::Result<()> {
    // Taken by the thread that starts.
    let work = Arc::new(Mutex::new(Some(work)));
    let mut failed = None;
    for stack in STACKS {
        let room = thread::Builder::new().stack_size(2 * stack).spawn(|| {});
        let started = room.and_then(|room| {
            let _ = room.join();
            let work = work.clone();
            thread::Builder::new().stack_size(stack).spawn(move || {
                let work = work.lock().ok().and_then(|mut work| work.take());
                if let Some(work) = work {
                    work.run();
                }
            })
        });
        match started {
            Ok(_) => return Ok(()),
            Err(e) => failed = Some(e),
        }
    }
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::on_pool;

    #[test]
    fn the_function_runs_on_the_pool() {
        assert!(on_pool(|| rayon::current_thread_index().is_some()));
    }

    #[test]
    fn a_pool_of_threads_with_any_stack_works() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3);
        let pool = pool.spawn_handler(super::start).build().unwrap();
        assert_eq!(pool.broadcast(|_| ()).len(), 3);
    }

    #[test]
    #[should_panic(expected = "seen by the caller")]
    fn a_panic_reaches_the_caller() {
        on_pool(|| -> u8 { panic!("seen by the caller") });
    }
}
