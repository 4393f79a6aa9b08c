//! Captions: `a [photo of a] [[v] ][colour ]noun[ wearing accessory][ scene]`.

use std::fmt;

use super::scene::Scene;
use super::sprites::{Accessory, NOUNS};

/// A colour that captions name, as a hue of a tint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ColourWord {
    /// Hue 0.
    Red,
    /// Hue 0.08.
    Orange,
    /// Hue 0.15.
    Yellow,
    /// Hue 0.33.
    Green,
    /// Hue 0.5.
    Cyan,
    /// Hue 0.62.
    Blue,
    /// Hue 0.77.
    Purple,
    /// Hue 0.9.
    Pink,
}

impl ColourWord {
    /// All colours.
    pub const ALL: [ColourWord; 8] = [
        ColourWord::Red,
        ColourWord::Orange,
        ColourWord::Yellow,
        ColourWord::Green,
        ColourWord::Cyan,
        ColourWord::Blue,
        ColourWord::Purple,
        ColourWord::Pink,
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        [
            "red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink",
        ][self as usize]
    }

    /// Its hue.
    pub fn hue(self) -> f64 {
        [0.0, 0.08, 0.15, 0.33, 0.5, 0.62, 0.77, 0.9][self as usize]
    }

    /// The colour that a text gives a noun, in any wording: "red" of "a red lion on a skateboard" and of `a red [v] lion`.
    pub fn of_noun(text: &str, noun: &str) -> Option<ColourWord> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let at = words.iter().position(|word| *word == noun)?;
        let before = &words[at.saturating_sub(2)..at];
        let colour = |word: &&str| ColourWord::ALL.into_iter().find(|c| c.word() == *word);
        before.iter().rev().find_map(colour)
    }

    /// The colour whose hue is nearest around the circle.
    pub fn nearest(hue: f64) -> ColourWord {
        let distance = |c: &ColourWord| {
            let d = (c.hue() - hue.rem_euclid(1.0)).abs();
            d.min(1.0 - d)
        };
        ColourWord::ALL
            .into_iter()
            .min_by(|a, b| distance(a).total_cmp(&distance(b)))
            .expect("there are eight colours")
    }
}

/// The content of a caption. [`fmt::Display`] writes it, [`Caption::parse`] reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caption {
    /// Whether it begins "a photo of a".
    pub photo: bool,
    /// Whether it has the token `[v]`.
    pub token: bool,
    /// A colour.
    pub colour: Option<ColourWord>,
    /// The adjective of a pattern, in captions that name a look (for training encoders).
    pub pattern: Option<super::sticker::PatternKind>,
    /// The sticker: one of [`NOUNS`].
    pub noun: String,
    /// What it wears.
    pub accessory: Option<Accessory>,
    /// Where it stands.
    pub scene: Option<Scene>,
}

impl Caption {
    /// Parses a caption, with the token in either case (`[V]`); `None` for a text outside the grammar.
    pub fn parse(text: &str) -> Option<Caption> {
        let (photo, mut rest) = match text.strip_prefix("a photo of a ") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("a ")?),
        };
        let mut take =
            |words: &str| match rest.strip_prefix(words).and_then(|r| r.strip_prefix(' ')) {
                Some(after) => {
                    rest = after;
                    true
                }
                None => false,
            };
        let token = take("[v]") || take("[V]");
        let colour = ColourWord::ALL.into_iter().find(|c| take(c.word()));
        let pattern = super::sticker::PatternKind::ALL
            .into_iter()
            .find(|p| take(p.adjective()));
        let (noun, rest) = rest
            .split_once(' ')
            .map_or((rest, None), |(noun, rest)| (noun, Some(rest)));
        NOUNS.contains(&noun).then_some(())?;
        let (accessory, rest) = match rest.and_then(|r| r.strip_prefix("wearing ")) {
            Some(worn) => {
                let accessory = Accessory::ALL
                    .into_iter()
                    .find(|a| worn.starts_with(a.words()))?;
                let rest = &worn[accessory.words().len()..];
                (
                    Some(accessory),
                    if rest.is_empty() {
                        None
                    } else {
                        Some(rest.strip_prefix(' ')?)
                    },
                )
            }
            None => (None, rest),
        };
        let scene = match rest {
            Some(words) => Some(Scene::ALL.into_iter().find(|s| s.words() == words)?),
            None => None,
        };
        Some(Caption {
            photo,
            token,
            colour,
            pattern,
            noun: noun.to_string(),
            accessory,
            scene,
        })
    }
}

impl fmt::Display for Caption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.photo { "a photo of a " } else { "a " })?;
        if self.token {
            f.write_str("[v] ")?;
        }
        if let Some(colour) = self.colour {
            write!(f, "{} ", colour.word())?;
        }
        if let Some(pattern) = self.pattern {
            write!(f, "{} ", pattern.adjective())?;
        }
        f.write_str(&self.noun)?;
        if let Some(accessory) = self.accessory {
            write!(f, " wearing {}", accessory.words())?;
        }
        if let Some(scene) = self.scene {
            write!(f, " {}", scene.words())?;
        }
        Ok(())
    }
}
