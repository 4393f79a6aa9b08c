//! What must hold of any input: no panic, bounded memory and time, a refusal that names the file, and nothing accepted that cannot be
//! right.

use crate::allocator;
use crate::case::Case;
use crate::target::{PER_BYTE, Target, Wrong};
use rpo_files::printable::printable_lines;
use serde::{Deserialize, Serialize};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Longer than this, twice in a row, is a fault.
const SLOW: Duration = Duration::from_secs(3);

/// What became of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Read.
    Accepted,
    /// Refused with this message.
    Refused(String),
    /// A rule does not hold.
    Fault(Fault),
}

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Equal for inputs that show the same fault: the kind, and the place or the shape of the message.
    pub key: String,
    /// All that is known.
    pub detail: String,
}

impl Fault {
    pub(crate) fn new(kind: &str, place: &str, detail: impl Into<String>) -> Self {
        Self {
            key: format!("{kind}: {}", shape(place)),
            detail: detail.into().chars().take(2000).collect(),
        }
    }
}

/// The message of the latest panic and where it was.
static PANIC: Mutex<Option<(String, String)>> = Mutex::new(None);

/// Keeps panics for [`judge`], and prints them in a line, for when the process dies of one.
pub fn listen() {
    std::panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map_or_else(|| "nowhere".to_owned(), ToString::to_string);
        eprintln!("{}", info.to_string().replace('\n', " "));
        if let Ok(mut panic) = PANIC.lock() {
            *panic = Some((place, info.to_string()));
        }
    }));
}

/// Reads the case that lies in `folder`.
pub fn judge(target: &Target, case: &Case, folder: &Path) -> Verdict {
    let (verdict, took) = once(target, case, folder);
    // Another process may have had the processor.
    if took > SLOW && !target.writes {
        let (_, again) = once(target, case, folder);
        if again > SLOW {
            let seconds = took.min(again).as_secs_f64();
            return Verdict::Fault(Fault::new("slow", "", format!("{seconds:.1} s")));
        }
    }
    verdict
}

fn once(target: &Target, case: &Case, folder: &Path) -> (Verdict, Duration) {
    let before = allocator::begin();
    let start = Instant::now();
    let read = catch_unwind(AssertUnwindSafe(|| (target.read)(folder)));
    let took = start.elapsed();
    let peak = allocator::peak().saturating_sub(before);
    let verdict = match read {
        Err(_) => {
            let panic = PANIC.lock().ok().and_then(|mut panic| panic.take());
            let (place, detail) = panic.unwrap_or_default();
            Verdict::Fault(Fault {
                key: format!("panic: {place}"),
                detail,
            })
        }
        Ok(Err(error)) if error.is::<Wrong>() => {
            let text = error.to_string();
            Verdict::Fault(Fault::new("accepted", &text, &text))
        }
        Ok(Err(error)) => refusal(target, case, folder, &error),
        Ok(Ok(())) => Verdict::Accepted,
    };
    let allowed = target.memory + PER_BYTE * case.size();
    let verdict = match verdict {
        Verdict::Accepted | Verdict::Refused(_) if peak > allowed => {
            let detail = format!(
                "{} MB for {} bytes of input: {verdict:?}",
                peak >> 20,
                case.size()
            );
            Verdict::Fault(Fault::new("memory", &told(&verdict), detail))
        }
        verdict => verdict,
    };
    (verdict, took)
}

fn told(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Refused(message) => format!("refused, {message}"),
        _ => "accepted".to_owned(),
    }
}

/// Whether a message, as it is printed, is one for a user.
fn refusal(target: &Target, case: &Case, folder: &Path, error: &anyhow::Error) -> Verdict {
    // candle adds a trace where the environment asks for one.
    let message = format!("{error:#}");
    let message = message.split("\n   0: ").next().unwrap_or_default();
    let message = printable_lines(message);
    let shown = folder.display().to_string();
    let plain = message.replace(&shown, "");
    let fault = |kind: &str| Verdict::Fault(Fault::new(kind, &plain, message.as_ref()));
    if message.trim().is_empty() {
        return fault("no message");
    }
    let name = |path: &String| path.rsplit('/').next().is_some_and(|n| message.contains(n));
    if !message.contains(&shown) && !case.files.keys().any(name) {
        return fault("no file named");
    }
    let code = rpo_files::failure::exit_code(error);
    if target.verb && code != 2 {
        return fault(&format!("exit code {code}"));
    }
    Verdict::Refused(plain)
}

/// A message without what differs from input to input: numbers, quoted text, names in backticks.
pub(crate) fn shape(message: &str) -> String {
    let mut out = String::new();
    let mut until: Option<char> = None;
    for c in message.chars() {
        match until {
            Some(end) if c == end => until = None,
            Some(_) => continue,
            None if matches!(c, '"' | '`') => until = Some(c),
            None => {}
        }
        let c = if c.is_ascii_digit() || c.is_control() || !c.is_ascii() {
            '#'
        } else {
            c
        };
        if c != '#' || !out.ends_with('#') {
            out.push(c);
        }
        if out.len() > 160 {
            break;
        }
    }
    out
}
