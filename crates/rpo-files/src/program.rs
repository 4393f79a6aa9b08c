//! A program from its start to its exit code: errors, panics and interruptions end with a message.

use crate::console;
use crate::failure::{INTERRUPTED, exit_code};
use crate::tell;
use anyhow::Result;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs `main`, prints its error and returns the exit code: 0, 2 for bad input, 75 if interrupted, else 1, also after a panic on
/// this thread or on one that hands its panic over, as a pool's do. `program` is its name and version.
pub fn run(program: &'static str, main: impl FnOnce() -> Result<()>) -> ExitCode {
    static TOLD: AtomicBool = AtomicBool::new(false);
    set_hook(Box::new(move |panic| {
        // Others follow from the first.
        if !TOLD.swap(true, Ordering::Relaxed) {
            tell!("{}", described(program, panic));
            let trace = Backtrace::capture();
            if trace.status() == BacktraceStatus::Captured {
                tell!("{trace}");
            }
        }
    }));
    // Unwinding removes unfinished files.
    match catch_unwind(AssertUnwindSafe(|| {
        main().and_then(|()| console::written())
    })) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            let code = exit_code(&error);
            match code {
                INTERRUPTED => tell!("{error:#}"),
                _ => tell!("error: {error:#}"),
            }
            ExitCode::from(code)
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// One line about a panic.
fn described(program: &str, panic: &PanicHookInfo) -> String {
    let said = panic
        .payload_as_str()
        .unwrap_or("no message")
        .replace('\n', " ");
    let place = panic
        .location()
        .map_or("an unknown place".to_owned(), ToString::to_string);
    format!(
        "internal error: {said}, at {place} of {program}: please report it with the command; what was saved stays, and a run resumes"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::BadInput;

    #[test]
    fn every_end_has_its_exit_code() {
        let code = |main: fn() -> Result<()>| format!("{:?}", run("a test 1.0", main));
        let is = |n: u8| format!("{:?}", ExitCode::from(n));
        assert_eq!(code(|| Ok(())), is(0));
        assert_eq!(code(|| Err(BadInput::new("x"))), is(2));
        assert_eq!(code(|| anyhow::bail!("x")), is(1));
        assert_eq!(code(|| panic!("of this thread")), is(1));
        let other = || {
            std::thread::scope(|scope| {
                scope.spawn(|| panic!("of another thread"));
            });
            Ok(())
        };
        assert_eq!(code(other), is(1));
        let told = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let into = told.clone();
        set_hook(Box::new(move |panic| {
            *into.lock().unwrap() = described("a test 1.0", panic);
        }));
        let _ = catch_unwind(|| panic!("two\nlines"));
        let told = told.lock().unwrap();
        assert!(
            told.starts_with("internal error: two lines, at ") && !told.contains('\n'),
            "{told}"
        );
        assert!(told.contains("program.rs:") && told.contains("of a test 1.0: please report"));
    }
}
