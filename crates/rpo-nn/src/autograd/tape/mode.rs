//! What operations record: a mode of the thread that applies them.
//!
//! A network's code calls `ops::linear(&x, &w, None)` whether it is trained on a tape, on candle's graph or not at all. The mode
//! decides, and is set for the duration of one closure by [`Tape::record`](super::Tape::record) and
//! [`Tape::part`](super::Tape::part) only. It is per thread because networks run on several threads at once, each with its own
//! tape, and because a closure has ended when the thread has left it.
//!
//! * **Other threads** keep their mode, [`Leaves::Candle`] unless they record themselves. What one of them computes from tracked
//!   tensors becomes part of candle's graph, and a tape refuses it as an argument: no gradient is lost silently. Kernels share
//!   their work between threads below the operations, where the mode is not used. Tasks of rayon that apply operations must record
//!   themselves or need no gradient: a thread that waits within a kernel may run such a task in any mode.
//! * **Nesting**: the previous mode is restored at the end. A recording within another is separate; its result is a node of
//!   candle's graph, which the outer one refuses. A part within a part that is recomputed is refused.
//! * **Errors and panics** also restore the previous mode; what was recorded until then is dropped.

use super::nodes::{Backward, Node};
use candle_core::{Result, Tensor, bail};
use std::cell::RefCell;

/// What operations on tracked tensors record; those on other tensors record nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// Nodes of candle's graph, the default.
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

/// Runs `f` in `mode`; returns its result and the final mode.
pub(super) fn within<T>(mode: Mode, f: impl FnOnce() -> Result<T>) -> Result<(T, Mode)> {
    /// Restores the thread's mode, also after a panic.
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

/// The nodes recorded by `f`, and its result.
pub(super) fn record<T>(f: impl FnOnce() -> Result<T>) -> Result<(T, Vec<Node>)> {
    match within(Mode::Record(Vec::new()), f)? {
        (result, Mode::Record(nodes)) => Ok((result, nodes)),
        _ => bail!("tape: the recording was replaced"),
    }
}

/// What operations of this thread record now.
pub(crate) fn leaves() -> Leaves {
    MODE.with_borrow(|mode| match mode {
        Mode::Candle => Leaves::Candle,
        Mode::Record(_) => Leaves::Tape,
        Mode::Plain => Leaves::Nothing,
    })
}

/// Records how the gradient of `out`, a variable, propagates.
pub(crate) fn remember(out: &Tensor, op: impl Backward + 'static) {
    push(Node::Operation {
        out: out.clone(),
        op: Box::new(op),
    });
}

/// Records a node, if this thread records.
pub(super) fn push(node: Node) {
    MODE.with_borrow_mut(|mode| {
        if let Mode::Record(nodes) = mode {
            nodes.push(node);
        }
    });
}
