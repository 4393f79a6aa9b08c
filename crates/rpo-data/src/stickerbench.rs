//! StickerBench (under construction).
