//! Which layers get an adapter, and of what size.

use candle_core::{Result, bail};

/// Hyperparameters of a new set of adapters; names and meaning are peft's `LoraConfig`.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// r, the inner width of every adapter; at least 1.
    pub rank: usize,
    /// α; an adapter's product B A is scaled by α / r.
    pub alpha: f64,
    /// Modules that get an adapter: full names, or suffixes after a dot (`to_q`, `ff.net.2`).
    pub targets: Vec<String>,
    /// Probability that an element of an adapter's input is dropped in training, in [0, 1).
    pub dropout: f64,
    /// How A starts; B starts at 0.
    pub init: LoraInit,
}

/// peft's `init_lora_weights`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoraInit {
    /// `True`: uniform in ±1/√fan_in (`kaiming_uniform_` with a = √5).
    #[default]
    KaimingUniform,
    /// `"gaussian"`: normal with a standard deviation of 1/r, as diffusers' scripts train.
    Gaussian,
}

impl LoraInit {
    /// `n` values of an A with `fan_in` inputs and r = `rank`, from draws in [0, 1).
    pub(super) fn values(
        self,
        n: usize,
        fan_in: usize,
        rank: usize,
        unit: &mut dyn FnMut(usize) -> Vec<f64>,
    ) -> Vec<f32> {
        match self {
            Self::KaimingUniform => {
                let bound = 1.0 / (fan_in as f64).sqrt();
                let draws = unit(n).into_iter();
                draws.map(|u| ((2.0 * u - 1.0) * bound) as f32).collect()
            }
            Self::Gaussian => {
                let std = 1.0 / rank as f64;
                let draws = unit(2 * n.div_ceil(2));
                // Box and Muller: 1 - u is never 0.
                let pairs = draws.as_chunks::<2>().0.iter().flat_map(|[u, v]| {
                    let (radius, angle) =
                        ((-2.0 * (1.0 - u).ln()).sqrt(), std::f64::consts::TAU * v);
                    [radius * angle.cos(), radius * angle.sin()]
                });
                pairs.take(n).map(|z| (z * std) as f32).collect()
            }
        }
    }
}

impl LoraConfig {
    /// The projections of every attention, which all programs that read LoRA files support.
    pub const ATTENTION: [&'static str; 4] = ["to_q", "to_k", "to_v", "to_out.0"];

    /// The names of the modules that get an adapter, among the tensors of a network by name and shape
    /// ([`Params::shapes`](crate::weights::Params::shapes)): linear layers have weights of two dimensions, convolutions of four.
    ///
    /// # Errors
    /// If a target matches none; the message names the nearest targets that would.
    pub fn modules(&self, shapes: &[(String, Vec<usize>)]) -> Result<Vec<String>> {
        let names = |wanted: bool| -> Vec<&str> {
            let those = shapes
                .iter()
                .filter(|(_, shape)| adaptable(shape) == wanted);
            those
                .filter_map(|(name, _)| name.strip_suffix(".weight"))
                .collect()
        };
        select(&self.targets, &names(true), &names(false))
    }

    /// Total number of parameters in A and B.
    ///
    /// # Errors
    /// As [`Self::modules`].
    pub fn parameters(&self, shapes: &[(String, Vec<usize>)]) -> Result<usize> {
        let modules = self.modules(shapes)?;
        let chosen = shapes.iter().filter(|(name, _)| {
            let module = name.strip_suffix(".weight");
            module.is_some_and(|m| modules.iter().any(|chosen| chosen == m))
        });
        // A is the weight with r rows, B has r columns.
        let each = chosen.map(|(_, s)| self.rank * (s[0] + s[1..].iter().product::<usize>()));
        Ok(each.sum())
    }

    /// # Errors
    /// If a value is out of range or there is no target.
    pub fn check(&self) -> Result<()> {
        if self.rank == 0 {
            bail!("LoRA: rank 0; it must be 1 or more")
        }
        if !self.alpha.is_finite() || self.alpha <= 0.0 {
            bail!("LoRA: alpha = {} must be a positive number", self.alpha)
        }
        if !(0.0..1.0).contains(&self.dropout) {
            bail!("LoRA: dropout = {} is not in [0, 1)", self.dropout)
        }
        if self.targets.is_empty() {
            bail!(
                "LoRA: no targets; the usual ones are {}",
                Self::ATTENTION.join(", ")
            )
        }
        Ok(())
    }
}

/// Linear layers have weights of two dimensions, convolutions of four.
pub(super) fn adaptable(shape: &[usize]) -> bool {
    matches!(shape.len(), 2 | 4)
}

/// Whether peft would give `module` an adapter for `target`: its name, or a suffix of it after a dot.
fn matches(target: &str, module: &str) -> bool {
    module
        .strip_suffix(target)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The `modules` that a target matches, in order.
///
/// # Errors
/// If a target matches none of them; the message names the nearest targets that would.
fn select(targets: &[String], modules: &[&str], others: &[&str]) -> Result<Vec<String>> {
    for target in targets {
        if let Some(module) = others.iter().find(|m| matches(target, m)) {
            bail!(
                "LoRA: target `{target}` is {module}, which is no linear layer and no convolution; adapters go on those alone"
            )
        }
        if !modules.iter().any(|m| matches(target, m)) {
            bail!(
                "LoRA: target `{target}` matches no layer of this model; near it: {}",
                nearest(target, modules).join(", ")
            )
        }
    }
    let wanted = |m: &&&str| targets.iter().any(|t| matches(t, m));
    Ok(modules
        .iter()
        .filter(wanted)
        .map(|m| (*m).to_owned())
        .collect())
}

/// The three suffixes of names in `modules` most similar to `target`.
fn nearest(target: &str, modules: &[&str]) -> Vec<String> {
    let mut ends: Vec<&str> = modules.iter().map(|m| end(m)).collect();
    ends.sort_unstable();
    ends.dedup();
    // Stable: equally near ones stay in alphabetical order.
    ends.sort_by_key(|e| strsim::damerau_levenshtein(e, target));
    ends.truncate(3);
    ends.into_iter().map(|e| format!("`{e}`")).collect()
}

/// The last component of a module's name, with the one before it if the last is a number: `to_out.0`.
fn end(module: &str) -> &str {
    let mut at = module.len();
    while let Some(dot) = module[..at].rfind('.') {
        if module[dot + 1..].starts_with(|c: char| !c.is_ascii_digit()) {
            return &module[dot + 1..];
        }
        at = dot;
    }
    module
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gaussian_has_peft_s_deviation() {
        let mut state = 7u64;
        let mut unit = |n: usize| -> Vec<f64> {
            let mut next = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 11) as f64 / (1u64 << 53) as f64
            };
            (0..n).map(|_| next()).collect()
        };
        let values = LoraInit::Gaussian.values(20_001, 64, 4, &mut unit);
        assert_eq!(values.len(), 20_001);
        let n = values.len() as f64;
        let moment = |k: i32| values.iter().map(|v| f64::from(*v).powi(k)).sum::<f64>() / n;
        assert!(moment(1).abs() < 0.005, "{}", moment(1));
        assert!((moment(2).sqrt() - 0.25).abs() < 0.005, "{}", moment(2));
        assert!(
            (moment(4) / moment(2).powi(2) - 3.0).abs() < 0.15,
            "{}",
            moment(4)
        );
    }

    const MODULES: [&str; 5] = [
        "down.0.attn1.to_q",
        "down.0.attn1.to_out.0",
        "down.0.ff.net.2",
        "down.0.ff.net.0.proj",
        "conv_in",
    ];

    fn of(targets: &[&str]) -> Result<Vec<String>> {
        let targets: Vec<String> = targets.iter().map(|t| (*t).to_owned()).collect();
        select(&targets, &MODULES, &["down.0.norm1"])
    }

    #[test]
    fn targets_match_whole_parts_of_names() {
        assert_eq!(of(&["to_q", "net.2"]).unwrap(), [MODULES[0], MODULES[2]]);
        assert_eq!(of(&["conv_in"]).unwrap(), ["conv_in"]);
        assert_eq!(of(&[MODULES[1]]).unwrap(), [MODULES[1]]);
        assert!(of(&["_q"]).is_err(), "half a part is no match");
    }

    #[test]
    fn a_target_without_a_layer_is_told_with_its_neighbours() {
        let message = of(&["to_query"]).unwrap_err().to_string();
        assert!(
            message.contains("`to_query`") && message.contains("`to_q`"),
            "{message}"
        );
        let message = of(&["to_out"]).unwrap_err().to_string();
        assert!(message.contains("near it: `to_out.0`"), "{message}");
        let message = of(&["norm1"]).unwrap_err().to_string();
        assert!(message.contains("no linear layer"), "{message}");
    }
}
