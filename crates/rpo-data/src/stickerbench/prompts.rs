//! The prompt sets of StickerBench, from `prompts/stickerbench.*.jsonl` of this crate.
//!
//! No prompt uses a reference scene, and no two sets share a scene, colour or accessory: the test contains nothing that the
//! negatives or the choice of the checkpoint have used.

use crate::prompts::PromptSet;

/// 8 training, 8 validation and 17 test prompts, with scenes, colours, accessories and pairs of these. They are the same for every
/// subject.
pub fn prompts() -> PromptSet {
    PromptSet::benchmark("stickerbench", false)
}
