//! The command line.

use crate::base;
use crate::judged::{self, Judged};
use crate::saves::{self, Saves};
use crate::score::{self, Judges, Scores};
use crate::settings::Settings;
use crate::sheet;
use crate::state::{self, Record};
use crate::train::{Run, Start};
use crate::vae;
use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use rpo_data::stickerbench::splits::DEV;
use rpo_diffusion::{Pipeline, load_unet};
use rpo_encoders::dual::DualEncoder;
use rpo_encoders::vit::VitEncoder;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::{console, say};
use rpo_nn::Place;
use rpo_nn::weights::Precision;
use std::path::{Path, PathBuf};

#[derive(Parser)]
#[command(
    name = "rpo-pretrain",
    version,
    about = "Trains the U-Net of the embedded model on StickerBench and scores what it draws."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Train at a constant rate; the same command resumes
    Unet(UnetArgs),
    /// Decay the rate to 0 on a copy of a training's state and write the averaged weights; the same command resumes
    Release(ReleaseArgs),
    /// Draw 608 pictures and a contact sheet and score them against true renders of the same captions
    Score(ScoreArgs),
    /// Score true renders of subjects by judges and reward: what a perfect model would reach, and one that copies its references
    Subjects(SubjectsArgs),
    /// Print the PSNR of the VAE on pictures with looks, in dB
    Vae(VaeArgs),
}

#[derive(Args)]
struct UnetArgs {
    /// diffusers folder: VAE, text encoder, schedule, U-Net configuration
    #[arg(long, default_value = "assets/micro")]
    model: PathBuf,
    /// U-Net folder with the initial weights; default: the model's own. A state folder with a save resumes from it
    #[arg(long)]
    from: Option<PathBuf>,
    /// Folder of the state, outside the source tree
    #[arg(long)]
    state: PathBuf,
    /// Duration of this start in minutes
    #[arg(long, default_value_t = f64::INFINITY)]
    minutes: f64,
    /// Last step, over all starts; default: none
    #[arg(long)]
    until: Option<u64>,
    /// Threads of the networks; 0: one per core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Seed of all random streams
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Samples per step
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Constant learning rate
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
    /// Steps of the warm-up
    #[arg(long, default_value_t = 200)]
    warmup: u64,
    /// Decay of the averaged weights
    #[arg(long, default_value_t = 0.9995)]
    ema: f64,
    /// Fraction of pictures whose sticker has its own look
    #[arg(long, default_value_t = 0.3)]
    looks: f64,
    /// Pictures drawn and encoded at a time
    #[arg(long, default_value_t = 1024)]
    window: usize,
    /// Number of times each picture is used
    #[arg(long, default_value_t = 2)]
    uses: usize,
    /// γ of min-SNR weights; 0: unweighted
    #[arg(long, default_value_t = 0.)]
    min_snr: f64,
    /// Minutes between lines of progress, each with a held-out loss
    #[arg(long, default_value_t = 2.)]
    report_every: f64,
    /// Minutes between saves
    #[arg(long, default_value_t = 5.)]
    save_every: f64,
    /// Minutes between contact sheets; 0: none
    #[arg(long, default_value_t = 15.)]
    sheet_every: f64,
}

#[derive(Args)]
struct ReleaseArgs {
    /// diffusers folder, the same as in the training
    #[arg(long, default_value = "assets/micro")]
    model: PathBuf,
    /// Folder of the training's state, which is not changed
    #[arg(long)]
    state: PathBuf,
    /// Folder of this release's own state
    #[arg(long)]
    decay_state: PathBuf,
    /// Steps of the decay
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Threads of the networks; 0: one per core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Folder to write: a diffusers `unet` folder in f16
    #[arg(long)]
    to: PathBuf,
}

#[derive(Args)]
struct ScoreArgs {
    /// diffusers folder
    #[arg(long, default_value = "assets/micro")]
    model: PathBuf,
    /// U-Net folder to score; default: the model's own
    #[arg(long)]
    unet: Option<PathBuf>,
    /// Folder of the CLIP judge
    #[arg(long, default_value = "assets/micro/eval_clip")]
    clip: PathBuf,
    /// Folder of the ViT judge
    #[arg(long, default_value = "assets/micro/eval_dino")]
    vit: PathBuf,
    /// Threads of the networks; 0: one per core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Folder to write: `sheet.png` without captions, `sheet.txt` with its key, `score.json`
    #[arg(long)]
    to: PathBuf,
}

#[derive(Args)]
struct SubjectsArgs {
    /// Folder with the diffusion model, `eval_dino`, `eval_clip` and `reward`
    #[arg(long, default_value = "assets/micro")]
    model: PathBuf,
    /// Seed of the subjects: 1 for DEV, 2 for TEST
    #[arg(long, default_value_t = DEV.seed)]
    seed: u64,
    /// Number of subjects
    #[arg(long, default_value_t = DEV.subjects as u32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// Threads of the networks; 0: one per core
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

#[derive(Args)]
struct VaeArgs {
    /// diffusers folder
    #[arg(long, default_value = "assets/micro")]
    model: PathBuf,
    /// Threads of the networks; 0: one per core
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// Runs the program with this process's arguments.
///
/// # Errors
/// Any failure; [`rpo_files::failure::exit_code`] tells bad input from other failures. Wrong arguments end the process with code 2.
pub fn main() -> Result<()> {
    let verb = Cli::parse().verb;
    let (Verb::Unet(UnetArgs { threads, .. })
    | Verb::Release(ReleaseArgs { threads, .. })
    | Verb::Score(ScoreArgs { threads, .. })
    | Verb::Subjects(SubjectsArgs { threads, .. })
    | Verb::Vae(VaeArgs { threads, .. })) = &verb;
    let ended = rpo_nn::on_pool_of(*threads, || match verb {
        Verb::Unet(args) => unet(&args),
        Verb::Release(args) => release(&args),
        Verb::Score(args) => score(&args),
        Verb::Subjects(args) => subjects(&args),
        Verb::Vae(args) => vae(&args.model),
    });
    ended.context("starting the threads")?
}

fn unet(args: &UnetArgs) -> Result<()> {
    let lock = Saves::of(&args.state)?;
    let (pipeline, encoders) = base::pipeline(&args.model)?;
    let kept = saves::newest(lock.folder())?
        .map(|save| Record::read(&save))
        .transpose()?;
    let (first, first_weights) = match (&args.from, kept) {
        // The initial weights no longer matter.
        (None, Some(kept)) => (pipeline.unet_params.clone(), kept.settings.first_weights),
        (Some(from), _) => base::first_weights(from, &pipeline)?,
        (None, None) => base::first_weights(&args.model.join("unet"), &pipeline)?,
    };
    let settings = Settings {
        seed: args.seed,
        batch: args.batch,
        learning_rate: args.learning_rate,
        warmup: args.warmup,
        ema: args.ema,
        looks: args.looks,
        window: args.window,
        uses: args.uses,
        min_snr: args.min_snr,
        encoders,
        first_weights,
        decay: None,
    };
    let start = Start {
        minutes: args.minutes,
        until: args.until,
        report_every: args.report_every,
        save_every: args.save_every,
        sheet_every: args.sheet_every,
    };
    Run::open(start, settings, lock, pipeline, &first)?.train()
}

fn release(args: &ReleaseArgs) -> Result<()> {
    let lock = Saves::of(&args.decay_state)?;
    let (pipeline, encoders) = base::pipeline(&args.model)?;
    let training = saves::newest(&args.state)?.ok_or_else(|| {
        let state = args.state.display();
        BadInput::new(format!(
            "{state}: no save of a training\n  hint: rpo-pretrain unet --state {state} makes one"
        ))
    })?;
    let mut record = Record::read(&training)?;
    let own = saves::newest(lock.folder())?;
    let (decay, of) = match &own {
        Some(own) => {
            let own = Record::read(own)?;
            (own.settings.decay, own.settings.decay.map_or(0, |d| d.0))
        }
        None => (Some((record.step, args.steps)), record.step),
    };
    // Another training, a longer one, or another length than this folder was begun with.
    if decay != Some((record.step, args.steps)) {
        return Err(BadInput::new(format!(
            "{}: the decay there is of step {of} in {} steps, asked for is step {} in {}\n  hint: name another --decay-state folder",
            lock.folder().display(),
            decay.map_or(0, |d| d.1),
            record.step,
            args.steps
        )));
    }
    record.settings.decay = decay;
    record.settings.encoders = encoders;
    if own.is_none() {
        let kept = Record::read(&training)?.settings;
        let same = Settings {
            decay: None,
            ..record.settings.clone()
        };
        same.check_same(&kept, &args.state)?;
        state::copy(&training, &record, &lock)?;
    }
    let start = Start {
        minutes: f64::INFINITY,
        until: Some(record.step.saturating_add(args.steps)),
        report_every: 2.,
        save_every: 5.,
        sheet_every: 0.,
    };
    let first = pipeline.unet_params.clone();
    let mut run = Run::open(start, record.settings, lock, pipeline, &first)?;
    run.train()?;
    let (weights, averages) = run.losses()?;
    say!("held-out loss of the weights {weights}\nheld-out loss of the averages {averages}");
    let config = args.model.join("unet/config.json");
    state::write_unet(&run.state().averages, Precision::F16, &config, &args.to)?;
    say!("wrote the averages to {}", args.to.display());
    Ok(())
}

fn score(args: &ScoreArgs) -> Result<()> {
    let pipeline = Pipeline::load(&args.model).or_bad_input("--model")?;
    let params = match &args.unet {
        Some(folder) => load_unet(folder, None).or_bad_input("--unet")?.1,
        None => pipeline.unet_params.clone(),
    };
    let unet = pipeline.unet(&params.constant()).or_bad_input("--unet")?;
    let captions = score::captions();
    let place = Place::default();
    let judges = Judges::new(
        DualEncoder::load(&args.clip, &place).or_bad_input("--clip")?,
        VitEncoder::load(&args.vit, &place).or_bad_input("--vit")?,
        captions.clone(),
    )?;
    sheet::draw(&pipeline, &unet, &args.to.join("sheet.png"))?;
    let drawn = sheet::pictures(&pipeline, &unet, &captions, "score noise")?;
    let renders = score::renders(&captions, "score renders");
    let decoded = pipeline.decode(&pipeline.encode_pictures(&renders)?.mean, 16)?;
    let rows: [(&str, Scores); 3] = [
        ("drawn", judges.score(&drawn)?),
        ("true renders through the VAE", judges.score(&decoded)?),
        ("true renders", judges.score(&renders)?),
    ];
    console::out(&score::table(&rows));
    let all: serde_json::Map<String, serde_json::Value> = rows
        .iter()
        .map(|(name, s)| Ok(((*name).to_owned(), serde_json::to_value(s)?)))
        .collect::<Result<_>>()?;
    saves::write(
        &args.to.join("score.json"),
        &serde_json::to_vec_pretty(&all)?,
    )
}

fn subjects(args: &SubjectsArgs) -> Result<()> {
    let pipeline = Pipeline::load(&args.model).or_bad_input("--model")?;
    let judged = Judged::load(&args.model).or_bad_input("--model")?;
    let rows = judged.rows(&pipeline, args.seed, args.count as usize)?;
    console::out(&judged::table(&rows));
    Ok(())
}

fn vae(model: &Path) -> Result<()> {
    let found = vae::round_trips(&Pipeline::load(model).or_bad_input("--model")?)?;
    let each: Vec<String> = found.quickstart.iter().map(|x| format!("{x:.1}")).collect();
    say!(
        "150 pictures with looks: mean {:.2} dB, worst tenth {:.2} dB\nthe quickstart's references: {} dB",
        found.mean,
        found.worst_tenth,
        each.join(" ")
    );
    Ok(())
}
