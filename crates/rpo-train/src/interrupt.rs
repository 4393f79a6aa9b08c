//! SIGINT, SIGTERM, SIGHUP and SIGUSR1 interrupt a run: it saves what is done and ends with code 75. A second SIGINT (Ctrl-C) ends
//! it at once; the others may come twice from a scheduler, which sends SIGUSR1 before SIGTERM, and SIGTERM to a script and to the
//! programs within it.

use anyhow::Result;
use rpo_files::failure::Interrupted;
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Listens for the signals from now on. Those that are ignored, as under `nohup`, stay ignored.
///
/// # Errors
/// If the system refuses.
#[cfg(unix)]
pub fn listen() -> Result<()> {
    use rpo_files::{failure::INTERRUPTED, tell};
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
    let ignored = ignored(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
    let wanted = [SIGHUP, SIGINT, SIGTERM, SIGUSR1]
        .into_iter()
        .filter(|s| ignored & (1 << (s - 1)) == 0);
    let mut signals = signal_hook::iterator::Signals::new(wanted)?;
    std::thread::spawn(move || {
        // Not `ASKED`: Ctrl-C goes to a pool and to its cells, and the pool may ask a cell first.
        let mut signalled = false;
        for signal in signals.forever() {
            ask();
            if !std::mem::replace(&mut signalled, true) {
                tell!("interrupted: saving what is done; Ctrl-C ends at once");
            } else if signal == SIGINT {
                std::process::exit(INTERRUPTED.into());
            }
        }
    });
    Ok(())
}

/// Signals are of Unix.
///
/// # Errors
/// Never.
#[cfg(not(unix))]
pub fn listen() -> Result<()> {
    Ok(())
}

/// Ends an abort with code 1: of a failed allocation, whose message is printed before.
#[cfg(unix)]
pub fn end_aborts() {
    use signal_hook::{consts::SIGABRT, low_level};
    // SAFETY: the handler only leaves the process, which is safe in a signal handler.
    let _ = unsafe { low_level::register(SIGABRT, || low_level::exit(1)) };
}

/// Signals are of Unix.
#[cfg(not(unix))]
pub fn end_aborts() {}

/// Interrupts as a signal would.
pub fn ask() {
    ASKED.store(true, Ordering::Relaxed);
}

/// Whether this process is to end as soon as possible.
pub fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Ends an interrupted process where nothing needs to be saved.
///
/// # Errors
/// [`Interrupted`] if it is.
pub fn check() -> Result<()> {
    match is_asked() {
        true => Err(Interrupted.into()),
        false => Ok(()),
    }
}

/// The mask of ignored signals in Linux's `/proc/self/status`; elsewhere none is known.
#[cfg(unix)]
fn ignored(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(all(test, unix))]
mod tests {
    use super::ignored;

    #[test]
    fn ignored_signals_are_read() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000000001\n"), 1);
        assert_eq!(ignored(""), 0);
    }
}
