//! What a file holds that is not read.

use std::collections::BTreeSet;

use rpo_files::printable::printable_name;

/// What is in a file besides the adapters that are read.
#[derive(Default)]
pub(super) struct LeftOut<'a> {
    /// Modules of text encoders, as the file calls them.
    pub(super) text: BTreeSet<&'a str>,
    /// Names of bundled embeddings.
    pub(super) embeddings: BTreeSet<&'a str>,
}

impl LeftOut<'_> {
    /// What the user of the file must know.
    pub(super) fn notes(&self) -> Vec<String> {
        let text = self.text.first().map(|first| {
            format!(
                "{} modules of a text encoder ({}, …) are not applied: of text encoders only plain LoRA on CLIP's attention and MLP is, under the names of kohya and diffusers",
                self.text.len(),
                printable_name(first)
            )
        });
        let embeddings = (!self.embeddings.is_empty()).then(|| {
            let names: Vec<_> = self.embeddings.iter().map(|e| printable_name(e)).collect();
            format!(
                "{} bundled embeddings ({}) are not applied with the adapters; `generate` and `forward` read them by --embedding with the same file",
                names.len(),
                names.join(", ")
            )
        });
        text.into_iter().chain(embeddings).collect()
    }

    /// The refusal of a file without a matrix of a U-Net, but with adapters of `read` modules of text encoders.
    pub(super) fn nothing_else(&self, label: &str, read: usize, no_alpha: bool) -> String {
        let alphas = if no_alpha { "" } else { ", and alphas alone" };
        format!(
            "{label}: no LoRA of a U-Net in it ({} modules of text encoders, {} embeddings{alphas})",
            self.text.len() + read,
            self.embeddings.len()
        )
    }
}
