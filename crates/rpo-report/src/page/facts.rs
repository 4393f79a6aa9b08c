//! The facts below the headline: what was run, on what, for how long.

use std::collections::BTreeSet;

use serde::Serialize;

use super::data::ReportData;
use rpo_experiment::words::describe_guidance;

/// A fact and its details.
#[derive(Debug, Serialize)]
pub(super) struct Fact {
    name: &'static str,
    value: String,
    more: String,
}

/// The facts of a run in the order shown.
pub(super) fn facts(data: &ReportData) -> Vec<Fact> {
    let setup = &data.setup;
    let subjects: BTreeSet<_> = data.trajectories.iter().map(|t| &t.subject).collect();
    let arms: BTreeSet<_> = data.trajectories.iter().map(|t| &t.arm).collect();
    let seeds: Vec<_> = setup.seeds.iter().map(u64::to_string).collect();
    let mut size = count(subjects.len(), "subject");
    if arms.len() > 1 {
        size += &format!(", {}", count(arms.len(), "arm"));
    }
    let mut shares = shares(data).into_iter();
    let first_share = shares.next().unwrap_or_else(|| "not measured".into());
    let other_shares = shares.collect::<Vec<_>>().join(", ");
    let fact = |name, value, more| Fact { name, value, more };
    vec![
        fact("Model", setup.model.clone(), recipes(&setup.recipes)),
        fact(
            "Size",
            size,
            format!(
                "{} {}",
                if seeds.len() == 1 { "seed" } else { "seeds" },
                seeds.join(", ")
            ),
        ),
        fact(
            "Training",
            format!("up to {} steps", setup.steps),
            format!(
                "validated {} on {}",
                match setup.candidates {
                    0 => format!("every {}", setup.validation_interval),
                    n => format!("{n} times in every arm"),
                },
                count(setup.validation_pictures, "picture")
            ),
        ),
        fact(
            "Test",
            format!(
                "{} × {}",
                count(setup.test_prompts, "prompt"),
                count(setup.test_pictures_per_prompt, "picture")
            ),
            "for each subject".into(),
        ),
        fact(
            "Sampler",
            format!("{}, {} steps", setup.solver, setup.sampler_steps),
            describe_guidance(setup.guidance, setup.guidance_interval),
        ),
        fact("Device", setup.device.clone(), String::new()),
        fact(
            "Time of all cells",
            duration(data.times.total),
            String::new(),
        ),
        fact("Where it went", first_share, other_shares),
    ]
}

fn recipes(recipes: &[String]) -> String {
    match recipes {
        [] => String::new(),
        [one] => format!("recipe {one}"),
        // Of many arms each has its keys where it is chosen.
        many if many.len() > 3 => format!("{} recipes", many.len()),
        many => format!("recipes {}", many.join("; ")),
    }
}

/// Time by phase: validation, the cost of early stopping, first, then the rest, largest first.
fn shares(data: &ReportData) -> Vec<String> {
    let times = &data.times;
    let share = |name, seconds: f64| {
        (times.total > 0.0 && seconds > 0.0)
            .then(|| format!("{name} {:.0}\u{a0}%", 100.0 * seconds / times.total))
    };
    let mut rest = [
        ("training", times.training),
        ("test", times.test),
        ("negatives", times.negatives),
    ];
    rest.sort_by(|a, b| b.1.total_cmp(&a.1));
    share("validation", times.validation)
        .into_iter()
        .chain(
            rest.into_iter()
                .filter_map(|(name, seconds)| share(name, seconds)),
        )
        .collect()
}

/// `1 subject`, `8 subjects`.
pub(super) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A readable duration.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, _) if seconds < 10.0 => format!("{seconds:.1} s"),
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_spoken() {
        for (seconds, said) in [
            (0.04, "0.0 s"),
            (59.4, "59 s"),
            (59.6, "1 min 0 s"),
            (671.0, "11 min 11 s"),
            (7260.0, "2 h 1 min"),
        ] {
            assert_eq!(duration(seconds), said);
        }
    }
}
