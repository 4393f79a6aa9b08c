//! Names of the judges: a table must not call an encoder what it is not.

use crate::fields::Encoders;
use crate::layer::Layers;
use anyhow::Result;

/// The label of the embedded model's encoders, which is the default.
const EMBEDDED: &str = "micro";

/// Gives other judges than the embedded ones a label if the experiment has none: the ends of their paths.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] if the embedded model's judge is called DINO. Whether a folder is DINO's is checked when it is
/// read.
pub(super) fn complete(encoders: &mut Encoders, layers: &Layers) -> Result<()> {
    let embedded = |path: &str| path.split('/').any(|part| part == EMBEDDED);
    if encoders.label == EMBEDDED && !(embedded(&encoders.clip) && embedded(&encoders.vit)) {
        encoders.label = of_paths(encoders);
    }
    if let Some((key, name)) = encoders.claims_dino()
        && encoders.vit.starts_with(EMBEDDED)
    {
        let message = format!(
            "\"{name}\", but encoders.vit = \"{}\" is not DINO\n  hint: leave the key away for the embedded model",
            encoders.vit
        );
        return Err(layers.error(key, &message));
    }
    Ok(())
}

impl Encoders {
    /// Name of an encoder in tables: with the label in front, unless its folder begins with it.
    pub fn in_words(&self, folder: &str) -> String {
        match folder.starts_with(&self.label) {
            true => folder.to_owned(),
            false => format!("{} {folder}", self.label),
        }
    }

    /// The key and the name that say that the judge of image similarity is DINO, if one does. A label made of paths says nothing.
    pub fn claims_dino(&self) -> Option<(&'static str, &str)> {
        let named = [
            ("encoders.vit_name", &self.vit_name),
            ("encoders.label", &self.label),
        ];
        let claims = |name: &str| name.to_lowercase().contains("dino") && name != of_paths(self);
        let mut named = named.into_iter().map(|(key, name)| (key, name.as_str()));
        named.find(|(_, name)| claims(name))
    }
}

/// A label from the names of the judges' folders.
fn of_paths(encoders: &Encoders) -> String {
    format!("{}, {}", last(&encoders.clip), last(&encoders.vit))
}

/// The last part of a path or of a repository's name.
fn last(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use crate::read;
    use std::path::Path;

    fn label(sets: &[&str]) -> anyhow::Result<String> {
        let sets: Vec<String> = sets.iter().map(|&s| s.to_owned()).collect();
        read(Path::new("quickstart"), &[], &sets).map(|(e, _)| e.encoders.label)
    }

    #[test]
    fn labels_say_what_was_read() {
        assert_eq!(label(&[]).unwrap(), "micro");
        let other = ["encoders.clip=/models/clip/", "encoders.vit=org/vit"];
        assert_eq!(label(&other).unwrap(), "clip, vit");
        let other = ["encoders.clip=org/clip", "encoders.vit=micro/eval_dino"];
        assert_eq!(label(&other).unwrap(), "clip, eval_dino");
        assert_eq!(label(&["encoders.vit=a/micro/eval_dino"]).unwrap(), "micro");
        for name in ["encoders.vit_name=DINO", "encoders.label=DINOv2 ViT-S"] {
            let message = label(&[name]).unwrap_err().to_string();
            assert!(message.contains("is not DINO"), "{message}");
        }
    }
}
