//! Who draws which pictures, when several processes need the same ones.
//!
//! The cells of one class draw the same negatives, class pictures and pictures of the base model, and a scheduler starts them at
//! the same moment. Each batch is claimed before it is drawn; who finds it claimed draws the next one, and waits at the end for
//! what others draw: they share the work. There is no stage of its own before the cells, which would keep the other GPUs waiting
//! for one, and no cell depends on another: a claim ends with its holder, and a holder without a sign of life is not waited for.

use rpo_files::Claim;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

/// Time between two looks at what others draw: the first, and the longest.
pub(super) const POLL: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// Time between signs of life of a claim.
const RENEW: Duration = Duration::from_secs(10);

/// A holder that gives no sign for so long is stopped or cut off: its batch is drawn here too.
const PATIENCE: Duration = Duration::from_secs(300);

/// The claims that one process makes and sees.
pub(super) struct Turns {
    folder: PathBuf,
    patience: Duration,
    seen: BTreeMap<String, (Option<SystemTime>, Instant)>,
}

/// Whose work a batch is.
pub(super) enum Turn {
    /// This process draws it.
    Ours(Held),
    /// Another one does.
    Theirs,
}

/// A claim held by this process, or none where none can be made.
pub(super) struct Held {
    claim: Option<Claim>,
    renewed: Instant,
}

impl Turns {
    /// Claims are files in `folder`, which every process sees that shares the pictures.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            patience: PATIENCE,
            seen: BTreeMap::new(),
        }
    }

    /// Whether to draw the batch named `key` now.
    pub(super) fn ask(&mut self, key: &str) -> Turn {
        let path = self.folder.join(key);
        // Without claims the work is done twice, no more.
        let claim = match Claim::take(&path) {
            Ok(None) => {
                let (now, renewed) = (Instant::now(), Claim::renewed(&path));
                let seen = self.seen.entry(key.to_owned()).or_insert((renewed, now));
                if seen.0 != renewed {
                    *seen = (renewed, now);
                }
                if seen.1.elapsed() < self.patience {
                    return Turn::Theirs;
                }
                None
            }
            claim => claim.ok().flatten(),
        };
        Turn::Ours(Held {
            claim,
            renewed: Instant::now(),
        })
    }

    /// Removes the claims of processes that were killed.
    pub(super) fn sweep(&self) {
        Claim::sweep(&self.folder);
    }
}

impl Held {
    /// A sign of life, from time to time.
    pub(super) fn alive(&mut self) {
        if self.renewed.elapsed() >= RENEW {
            self.renewed = Instant::now();
            if let Some(claim) = &mut self.claim {
                claim.renew();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(turn: &Turn) -> bool {
        matches!(turn, Turn::Ours(_))
    }

    #[test]
    fn a_batch_is_one_process_s_until_it_ends_or_falls_silent() {
        let folder = tempfile::tempdir().unwrap();
        let turns = || Turns::new(folder.path().join("drawing"));
        let (mut one, mut other) = (turns(), turns());
        let held = one.ask("a");
        assert!(ours(&held) && ours(&one.ask("b")));
        assert!(!ours(&other.ask("a")));
        other.patience = Duration::ZERO;
        assert!(ours(&other.ask("a")), "no sign of life");
        other.patience = PATIENCE;
        assert!(!ours(&other.ask("a")));
        drop(held);
        assert!(ours(&other.ask("a")));
    }

    #[test]
    fn where_none_can_be_made_all_is_ours() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(ours(&Turns::new(file).ask("a")));
    }
}
