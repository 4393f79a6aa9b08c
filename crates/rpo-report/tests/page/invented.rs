//! An invented run to test and view the page: 8 subjects, up to 9 validations, early stopping, small
//! drawn pictures.

mod table;
pub(crate) use table::compare_all;

use image::{Rgb, RgbImage};
use rpo_report::page::data::*;

/// SplitMix64: enough for invented numbers.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Uniform in [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn noise(&mut self, size: f64) -> f64 {
        size * (self.uniform() + self.uniform() + self.uniform() - 1.5)
    }
}

const SUBJECTS: [(&str, &str); 8] = [
    ("owl", "owl"),
    ("red_teapot", "teapot"),
    ("<script>alert(1)</script>", "cat & \"friend\""),
    ("fox", "fox"),
    ("robot", "robot"),
    ("avocado", "avocado"),
    ("a subject with quite a long name", "sailing boat"),
    ("mushroom", "mushroom"),
];
const LIMIT: usize = 320;
const EVERY: usize = 40;

/// The reward, written independently; only for λ strictly between 0 and 1 and positive scores.
fn reward(rule: &Rule, s: &PictureScore) -> f64 {
    let l = rule.lambda;
    match rule.mean {
        Mean::Harmonic => 1.0 / (l / s.image + (1.0 - l) / s.text),
        Mean::Arithmetic => l * s.image + (1.0 - l) * s.text,
        Mean::Geometric => s.image.powf(l) * s.text.powf(1.0 - l),
    }
}

fn rules() -> Vec<Rule> {
    let best = |lambda, mean, name: &str| Rule {
        id: format!("{name}-{lambda}"),
        label: format!("λ = {lambda} {name}"),
        kind: RuleKind::Best,
        mean,
        lambda,
        patience: Some(3),
    };
    vec![
        best(0.3, Mean::Harmonic, "harmonic"),
        best(0.5, Mean::Harmonic, "harmonic"),
        best(0.7, Mean::Harmonic, "harmonic"),
        best(0.5, Mean::Arithmetic, "arithmetic"),
        Rule {
            id: "last".into(),
            label: "last step".into(),
            kind: RuleKind::Last,
            ..Rule::default()
        },
    ]
}

/// A disc before a landscape: the longer trained, the more similar to the subject.
fn draw(subject: usize, scene: usize, likeness: f64, jitter: u64) -> Picture {
    let hue = |k: usize| {
        [
            (k * 97 + 40) % 256,
            (k * 53 + 120) % 256,
            (k * 151 + 80) % 256,
        ]
    };
    let (own, sky) = (hue(subject + 3), hue(scene * 5 + 11));
    let mut dice = Dice(jitter * 7919 + scene as u64);
    let (cx, cy) = (28.0 + 8.0 * dice.uniform(), 32.0 + 6.0 * dice.uniform());
    let lobes = 2.0 + subject as f64;
    let picture = RgbImage::from_fn(64, 64, |x, y| {
        let (dx, dy) = (f64::from(x) - cx, f64::from(y) - cy);
        let r = 16.0 + 5.0 * likeness * (lobes * dy.atan2(dx)).cos();
        let inside = (1.0 - (dx.hypot(dy) - r) / 2.0).clamp(0.0, 1.0);
        let mut pixel = [0u8; 3];
        for c in 0..3 {
            let ground = sky[c] as f64 * (0.55 + 0.45 * f64::from(y) / 64.0);
            let grain = 10.0 * (f64::from((x * 13 + y * 7 + c as u32 * 5) % 11) / 11.0 - 0.5);
            let body = (1.0 - likeness) * 150.0 + likeness * own[c] as f64;
            pixel[c] = (ground + inside * (body - ground) + grain).clamp(0.0, 255.0) as u8;
        }
        Rgb(pixel)
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("a PNG in memory");
    Picture::png(bytes.get_ref()).expect("a PNG")
}

fn likeness(step: usize) -> f64 {
    1.0 - (-(step as f64) / 90.0).exp()
}

/// Reads rewards up to the rule's stop: index of the first highest, and of the stop.
fn decide(rewards: &[f64], patience: Option<usize>) -> (usize, Option<usize>) {
    let mut best = 0;
    for i in 0..rewards.len() {
        if rewards[i] > rewards[best] {
            best = i;
        }
        if patience.is_some_and(|p| i - best >= p) {
            return (best, Some(i));
        }
    }
    (best, None)
}

fn trajectory(index: usize, rules: &[Rule]) -> Trajectory {
    let (subject, class) = SUBJECTS[index];
    let mut dice = Dice(index as u64 + 1);
    let mut validations: Vec<Validation> = Vec::new();
    let prompts: Vec<String> = ["in a library", "on a red carpet", "at night", "under water"]
        .iter()
        .map(|place| format!("a {class} {place}"))
        .collect();
    let peak = 90.0 + 40.0 * index as f64;
    for step in (0..=LIMIT).step_by(EVERY) {
        let over = ((step as f64 - peak) / 200.0).max(0.0);
        let pictures = (0..16)
            .map(|k| PictureScore {
                prompt: k / 4,
                image: 0.62 + 0.2 * likeness(step) + dice.noise(0.012),
                text: 0.66 - 0.05 * likeness(step) - 0.16 * over + dice.noise(0.012),
            })
            .collect();
        validations.push(Validation {
            step,
            variant: String::new(),
            pictures,
            strip: (0..2)
                .map(|k| draw(index, k + 2, likeness(step), index as u64))
                .collect(),
        });
    }
    let series: Vec<Vec<f64>> = rules
        .iter()
        .map(|rule| {
            let mean = |v: &Validation| {
                v.pictures.iter().map(|p| reward(rule, p)).sum::<f64>() / v.pictures.len() as f64
            };
            validations.iter().map(mean).collect()
        })
        .collect();
    let decisions: Vec<_> = rules
        .iter()
        .zip(&series)
        .map(|(rule, rewards)| match rule.kind {
            RuleKind::Best => decide(rewards, rule.patience),
            RuleKind::Last => (0, Some(0)),
        })
        .collect();
    let end = decisions
        .iter()
        .map(|d| d.1.unwrap_or(validations.len() - 1))
        .max()
        .unwrap_or(0);
    validations.truncate(end + 1);
    let stopped_step = validations[end].step;
    let outcomes: Vec<_> = rules
        .iter()
        .zip(&series)
        .zip(&decisions)
        .map(|((rule, rewards), &(chosen, stopped))| match rule.kind {
            RuleKind::Last => RuleOutcome {
                rule: rule.id.clone(),
                chosen_step: stopped_step,
                reason: "the last step, whatever its reward".into(),
                ..RuleOutcome::default()
            },
            RuleKind::Best => RuleOutcome {
                rule: rule.id.clone(),
                chosen_step: chosen * EVERY,
                stopped_at_step: stopped.map(|s| s * EVERY),
                reason: match stopped {
                    Some(_) => "no new highest reward in 3 validations".into(),
                    None => "highest reward of all".into(),
                },
                reward_chosen: Some(rewards[chosen]),
                reward_step0: Some(rewards[0]),
                difference_interval: Some([
                    rewards[chosen] - rewards[0] - 0.009,
                    rewards[chosen] - rewards[0] + 0.009,
                ]),
                ..RuleOutcome::default()
            },
        })
        .collect();
    let mut kept_steps: Vec<usize> = outcomes.iter().map(|o| o.chosen_step).collect();
    kept_steps.sort_unstable();
    kept_steps.dedup();
    let training = (1..=stopped_step)
        .step_by(2)
        .map(|step| {
            let l_sim = 0.22 * (0.4 + 0.6 * (1.0 - likeness(step))) + dice.noise(0.05).abs();
            let l_pref = 0.693 - 0.2 * likeness(step) + dice.noise(0.08);
            TrainingPoint {
                step,
                terms: [("sim".into(), l_sim), ("pref".into(), l_pref)].into(),
                loss: l_sim + l_pref,
                grad_norm: 1.4 + dice.noise(0.7),
            }
        })
        .collect();
    Trajectory {
        id: format!("{subject}/0"),
        subject: subject.into(),
        class: class.into(),
        photos: 5,
        arm: String::new(),
        seed: 0,
        references: (0..5)
            .map(|k| draw(index, k % 2, 1.0, k as u64 + 10))
            .collect(),
        negatives: (0..5)
            .map(|k| draw(index, k + 4, 0.0, k as u64 + 20))
            .collect(),
        validation_prompts: prompts.clone(),
        strip_prompts: prompts[..2].to_vec(),
        validations,
        training,
        kept_steps,
        kept_variants: Vec::new(),
        stopped_step,
        outcomes,
        unfinished: None,
    }
}

fn samples(trajectories: &[Trajectory], rules: &[Rule]) -> Vec<SampleRow> {
    let mut rows = Vec::new();
    for (s, t) in trajectories.iter().enumerate() {
        for k in 0..9 {
            let mut pictures = vec![Sample {
                row: "step 0".into(),
                label: "step 0".into(),
                step: 0,
                variant: String::new(),
                picture: draw(s, k + 7, 0.0, k as u64),
            }];
            for (rule, o) in rules.iter().zip(&t.outcomes) {
                pictures.push(Sample {
                    row: rule.id.clone(),
                    label: rule.label.clone(),
                    step: o.chosen_step,
                    variant: o.chosen_variant.clone(),
                    picture: draw(s, k + 7, likeness(o.chosen_step), k as u64),
                });
            }
            rows.push(SampleRow {
                trajectory: t.id.clone(),
                prompt: format!("a {} in place number {}", t.class, k + 1),
                pictures,
            });
        }
    }
    rows
}

/// The invented run.
pub(crate) fn run() -> ReportData {
    let rules = rules();
    let trajectories: Vec<_> = (0..SUBJECTS.len()).map(|i| trajectory(i, &rules)).collect();
    let encoder = |role: &str, name: &str, stands_for: &str| Encoder {
        role: role.into(),
        name: name.into(),
        stands_for: stands_for.into(),
    };
    ReportData {
        title: "Which λ chooses best?".into(),
        name: "ablation_lambda".into(),
        description: "Tables 3 and 6: λ_val from 0.3 to 0.7 and the arithmetic mean, one training a subject. (Invented data.)".into(),
        created: "2025-03-01 14:02 UTC".into(),
        version: "0.1.0".into(),
        arms: vec![],
        setup: Setup {
            cells: 8,
            model: "micro".into(),
            recipes: vec!["paper".into()],
            encoders: vec![
                encoder("reward", "micro reward", "ALIGN (kakaobrain/align-base), which has its layout"),
                encoder("CLIP", "micro CLIP", "CLIP ViT-B/32"),
                encoder("ViT", "micro ViT", "DINO ViT-S/16, which it is not"),
            ],
            device: "cpu, 2 threads, avx512f".into(),
            seeds: vec![0],
            steps: LIMIT,
            validation_interval: EVERY,
            candidates: 0,
            validation_pictures: 16,
            test_pictures_per_prompt: 2,
            test_prompts: 9,
            negatives: 32,
            solver: "DPM-Solver++ 2M".into(),
            sampler_steps: 20,
            guidance: 5.0,
            guidance_interval: None,
        },
        times: Times { total: 671.0, negatives: 31.0, training: 260.0, validation: 220.0, test: 140.0 },
        test: Some(table::test_table(&trajectories, &rules)),
        beside: Beside {
            costs: [("rpo", Some(6_080_000)), ("a </script> word", None)]
                .map(|(arm, parameters)| Cost {
                    arm: arm.into(),
                    backbone: "micro".into(),
                    trains: "the whole U-Net".into(),
                    iterations: LIMIT,
                    steps: 280.0,
                    pictures: 32,
                    forwards: 8123.0,
                    seconds: Some(61.5),
                    parameters,
                    bytes: parameters.map(|n| 4 * n as u64),
                })
                .into(),
            published: vec![Published {
                name: "A method <b>of a paper</b>".into(),
                backbone: "Imagen".into(),
                iterations: Some(0),
                dino: Some(0.741),
                clip_i: None,
                clip_t: Some(0.304),
                source: "invented".into(),
            }],
        },
        samples: samples(&trajectories, &rules),
        rules,
        trajectories,
        settings: "[train]\nsteps = 320          # the most a trajectory may take\nrecipe = \"paper\"\nnote = \"</pre><script>alert(2)</script>\"\n".into(),
        notes: vec![],
    }
}
