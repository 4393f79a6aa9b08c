//! Masked identity as a column: the renderer as a judge of its own subjects.

use crate::scorer::{Scored, Scorer};
use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use rpo_data::stickerbench::caption::ColourWord;
use rpo_data::stickerbench::identity::Masked;
use rpo_data::stickerbench::sticker::Look;
use rpo_stats::Column;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The renders of one subject, by the colour of the prompt.
type Renders = BTreeMap<Option<ColourWord>, Masked>;

/// One column, Mask-I: [`Masked::identity`] of each picture, for subjects that StickerBench renders.
#[derive(Debug, Default)]
pub struct MaskedColumn {
    /// Those of the last subject: all its checkpoints are compared with the same.
    last: Mutex<Option<(Look, Renders)>>,
}

impl MaskedColumn {
    fn last(&self) -> MutexGuard<'_, Option<(Look, Renders)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scorer for MaskedColumn {
    fn columns(&self) -> Vec<Column> {
        vec![Column {
            name: "Mask-I".into(),
            computed_by: "StickerBench renderer".into(),
            explanation: "Masked identity, from renders and their masks: 1 is the subject, -1 its plain noun, 0 neither.".into(),
            higher_is_better: Some(true),
        }]
    }

    fn values(&self, scored: Scored<'_>) -> Result<Vec<Vec<f64>>> {
        let Some(look) = scored.look else {
            bail!("masked identity needs a rendered subject")
        };
        let colour = |text: &String| ColourWord::of_noun(text, &look.noun);
        let colours: Vec<_> = scored.texts.iter().map(colour).collect();
        // Not locked while threads compute.
        let last = self.last().take();
        let mut renders = match last {
            Some((of, renders)) if of == *look => renders,
            _ => Renders::new(),
        };
        let mut missing = BTreeSet::from_iter(&colours);
        missing.retain(|colour| !renders.contains_key(*colour));
        let missing: Vec<_> = missing.into_iter().copied().collect();
        let drawn = missing.par_iter().map(|c| (*c, Masked::new(look, *c)));
        renders.extend(drawn.collect::<Vec<_>>());
        let each = scored.pictures.par_iter().zip(&colours);
        let values = each.map(|(picture, colour)| {
            let masked = renders.get(colour).context("every colour was rendered")?;
            Ok(masked.identity(picture))
        });
        let values = values.collect::<Result<_>>()?;
        *self.last() = Some((look.clone(), renders));
        Ok(vec![values])
    }
}
