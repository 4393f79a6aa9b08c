//! Masked identity as a column: the renderer as a judge of its own subjects.

use crate::scorer::{Scored, Scorer};
use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use rpo_data::stickerbench::caption::Caption;
use rpo_data::stickerbench::identity::Masked;
use rpo_stats::Column;
use std::collections::{BTreeMap, BTreeSet};

/// One column, Mask-I: [`Masked::identity`] of each picture, for subjects that StickerBench renders.
#[derive(Clone, Copy, Debug)]
pub struct MaskedColumn;

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
        let colour = |text: &String| Caption::parse(text).and_then(|caption| caption.colour);
        let colours: Vec<_> = scored.texts.iter().map(colour).collect();
        let renders: BTreeMap<_, _> = BTreeSet::from_iter(&colours)
            .into_iter()
            .map(|colour| (*colour, Masked::new(look, *colour)))
            .collect();
        let each = scored.pictures.par_iter().zip(&colours);
        let values = each.map(|(picture, colour)| {
            let masked = renders.get(colour).context("every colour was rendered")?;
            Ok(masked.identity(picture))
        });
        Ok(vec![values.collect::<Result<_>>()?])
    }
}
