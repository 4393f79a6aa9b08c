//! What operations leave behind: a mode of the thread that applies them.
//!
//! A network's code says `ops::linear(&x, &w, None)` whether it is trained on a tape, on candle's graph or not at all. Which it is
//! stands beside its arguments, here, and is set for the time of one closure by [`Tape::record`](super::Tape::record) and
//! [`Tape::part`](super::Tape::part) alone. It is the thread's own because networks run on several threads at once, each on a tape
//! of its own, and because a closure has ended when the thread has left it.
//!
//! * **Other threads** are where they were, in [`Leaves::Candle`] unless they record themselves. What one of them computes of
//!   tracked tensors becomes part of candle's graph, and a tape refuses it as an argument: no gradient is lost unseen. Kernels share
//!   their work between threads below the operations, where no mode is asked for. Tasks of rayon that apply operations must record
//!   themselves or want no gradient: a thread that waits within a kernel may take one on, in whatever mode it is.
//! * **Nesting**: the mode before comes back at the end. A recording within another is one of its own; its result is a node of
//!   candle's graph, which the outer one refuses. A part within a part that is computed again is refused.
//! * **Errors and panics** bring the mode before back as well; what was recorded until then is dropped.

use super::nodes::{Backward, Node};
use candle_core::{Result, Tensor, bail};
use std::cell::RefCell;

/// What operations on tracked tensors leave behind; those on others leave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// Nodes of candle's graph; where nobody has said anything else.
    Candle,
    /// Nodes of a tape.
    Tape,
    /// Nothing.
    Nothing,
}

/// [`Leaves`], with the tape.
pub(super) enum Mode {
    Candle,
    Record(Vec<Node>),
    Plain,
}

thread_local! {
    static MODE: RefCell<Mode> = const { RefCell::new(Mode::Candle) };
}

/// Runs `f` in `mode`; returns its result and what the mode became.
pub(super) fn within<T>(mode: Mode, f: impl FnOnce() -> Result<T>) -> Result<(T, Mode)> {
    /// Also after a panic the thread is as it was.
    struct Restore(Option<Mode>);
    impl Drop for Restore {
        fn drop(&mut self) {
            if let Some(mode) = self.0.take() {
                MODE.replace(mode);
            }
        }
    }
    let mut before = Restore(Some(MODE.replace(mode)));
    let result = f();
    let after = MODE.replace(before.0.take().unwrap_or(Mode::Candle));
    Ok((result?, after))
}

/// What `f` recorded, and its result.
pub(super) fn record<T>(f: impl FnOnce() -> Result<T>) -> Result<(T, Vec<Node>)> {
    match within(Mode::Record(Vec::new()), f)? {
        (result, Mode::Record(nodes)) => Ok((result, nodes)),
        _ => bail!("tape: the recording was replaced"),
    }
}

/// What operations of this thread leave behind now.
pub(crate) fn leaves() -> Leaves {
    MODE.with_borrow(|mode| match mode {
        Mode::Candle => Leaves::Candle,
        Mode::Record(_) => Leaves::Tape,
        Mode::Plain => Leaves::Nothing,
    })
}

/// Writes down how the gradient of `out`, a variable, goes on.
pub(crate) fn remember(out: &Tensor, op: impl Backward + 'static) {
    push(Node::Operation {
        out: out.clone(),
        op: Box::new(op),
    });
}

/// Writes down a step, if steps are written down.
pub(super) fn push(node: Node) {
    MODE.with_borrow_mut(|mode| {
        if let Mode::Record(nodes) = mode {
            nodes.push(node);
        }
    });
}
