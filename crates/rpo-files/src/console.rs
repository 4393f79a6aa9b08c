//! What a program prints. A reader that went away (`| head`) is no error, and printing never panics.

use crate::file_error::AtPath;
use crate::printable::{printable_json, printable_lines, shortened_lines};
use anyhow::Result;
use serde::Serialize;
use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The first error of standard output; nothing is printed after it.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Whether only results, warnings and errors are printed.
static QUIET: AtomicBool = AtomicBool::new(false);

/// From now on prints only results, warnings and errors.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether only results, warnings and errors are printed.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Prints a line on standard output, unless the program is quiet.
#[macro_export]
macro_rules! mention {
    ($($text:tt)*) => { if !$crate::console::is_quiet() { $crate::say!($($text)*) } };
}

/// Prints a line on standard output.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => { $crate::console::out(&format!("{}\n", format_args!($($text)*))) };
}

/// Prints a line on standard error.
#[macro_export]
macro_rules! tell {
    ($($text:tt)*) => { $crate::console::err(format_args!($($text)*)) };
}

/// Prints `text` on standard output, as [`printable_lines`]: names in it may come from files of strangers.
pub fn out(text: &str) {
    print(&printable_lines(text));
}

/// Prints a value as indented JSON on standard output; what a terminal would act on is escaped, as JSON does.
///
/// # Errors
/// If the value is no JSON.
pub fn json(value: &impl Serialize) -> Result<()> {
    print(&format!(
        "{}\n",
        printable_json(&serde_json::to_string_pretty(value)?)
    ));
    Ok(())
}

fn print(text: &str) {
    let mut failed = FAILED.lock().unwrap_or_else(|held| held.into_inner());
    if failed.is_none() {
        let mut out = io::stdout().lock();
        *failed = out
            .write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .err();
    }
}

/// Prints a line on standard error, if anybody reads it, as [`printable_lines`]; very long lines are shortened.
pub fn err(text: Arguments) {
    let text = format!("{text}\n");
    // In one piece: several processes may share it.
    let _ = io::stderr()
        .lock()
        .write_all(printable_lines(&shortened_lines(&text)).as_bytes());
}

/// Whether everything that was printed on standard output could be written.
///
/// # Errors
/// A full disk, for example; not that the reader went away.
pub fn written() -> Result<()> {
    let mut failed = FAILED.lock().unwrap_or_else(|held| held.into_inner());
    settle(failed.take())
}

fn settle(failed: Option<io::Error>) -> Result<()> {
    match failed {
        Some(e) if e.kind() != ErrorKind::BrokenPipe => {
            Ok(Err(e).writing(Path::new("standard output"))?)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_that_went_away_is_no_error() {
        settle(None).unwrap();
        settle(Some(ErrorKind::BrokenPipe.into())).unwrap();
        let full = settle(Some(ErrorKind::StorageFull.into())).unwrap_err();
        assert!(full.to_string().contains("standard output"), "{full}");
    }
}
