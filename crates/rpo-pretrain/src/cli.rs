//! The command line.

use crate::failure::BadInput;
use crate::score::{self, Judges, Scores};
use crate::sheet;
use crate::state::{self, Settings};
use crate::train::{self, Run, Start};
use crate::vae;
use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use rpo_diffusion::{Pipeline, load_unet};
use rpo_encoders::dual::DualEncoder;
use rpo_encoders::vit::VitEncoder;
use rpo_nn::Place;
use std::fs;
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
    /// Decay the rate to 0 on the side of a training and write the averaged weights; the same command resumes
    Release(ReleaseArgs),
    /// Draw 608 pictures and a sheet and score them beside true renders of the same captions
    Score(ScoreArgs),
    /// Print what the VAE keeps of pictures with looks, in dB
    Vae(VaeArgs),
}

#[derive(Args)]
struct UnetArgs {
    /// diffusers folder: VAE, text encoder, schedule, U-Net configuration
    #[arg(long, default_value = "assets/micro")]
    model: PathBuf,
    /// U-Net folder with the first weights; by default the model's own
    #[arg(long)]
    from: Option<PathBuf>,
    /// Folder of the state, outside of the source tree
    #[arg(long)]
    state: PathBuf,
    /// Minutes of this start
    #[arg(long, default_value_t = f64::INFINITY)]
    minutes: f64,
    /// Last step, all starts together; 0: none
    #[arg(long, default_value_t = 0)]
    until: u64,
    /// Threads of the networks; 0: as many as there are cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Names every random stream
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Samples a step
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
    /// Part of the pictures whose sticker has a look of its own
    #[arg(long, default_value_t = 0.3)]
    looks: f64,
    /// Pictures that are drawn and encoded at a time
    #[arg(long, default_value_t = 1024)]
    window: usize,
    /// How often a picture is used
    #[arg(long, default_value_t = 2)]
    uses: usize,
    /// γ of min-SNR weights; 0: plain ones
    #[arg(long, default_value_t = 0.)]
    min_snr: f64,
    /// Minutes between lines of progress, each with a held-out loss
    #[arg(long, default_value_t = 2.)]
    report_every: f64,
    /// Minutes between saves
    #[arg(long, default_value_t = 5.)]
    save_every: f64,
    /// Minutes between sheets of pictures; 0: none
    #[arg(long, default_value_t = 15.)]
    sheet_every: f64,
}

#[derive(Args)]
struct ReleaseArgs {
    /// diffusers folder, as the training had it
    #[arg(long, default_value = "assets/micro")]
    model: PathBuf,
    /// U-Net folder with the first weights, as the training had it
    #[arg(long)]
    from: Option<PathBuf>,
    /// Folder of the training's state; it is not changed
    #[arg(long)]
    state: PathBuf,
    /// Folder of this release's own state
    #[arg(long)]
    decay_state: PathBuf,
    /// Steps of the decay
    #[arg(long, default_value_t = 3000)]
    steps: u64,
    /// Threads of the networks; 0: as many as there are cores
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
    /// U-Net folder to score; by default the model's own
    #[arg(long)]
    unet: Option<PathBuf>,
    /// Folder of the CLIP judge
    #[arg(long, default_value = "assets/micro/eval_clip")]
    clip: PathBuf,
    /// Folder of the ViT judge
    #[arg(long, default_value = "assets/micro/eval_dino")]
    vit: PathBuf,
    /// Threads of the networks; 0: as many as there are cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Folder to write: `sheet.png` without captions, `sheet.txt` with its key, `score.json`
    #[arg(long)]
    to: PathBuf,
}

#[derive(Args)]
struct VaeArgs {
    /// diffusers folder
    #[arg(long, default_value = "assets/micro")]
    model: PathBuf,
    /// Threads of the networks; 0: as many as there are cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// Runs the program with this process's arguments.
///
/// # Errors
/// What went wrong; [`crate::failure::exit_code`] tells bad input from failure. Wrong arguments end the process with code 2.
pub fn main() -> Result<()> {
    let verb = Cli::parse().verb;
    let (Verb::Unet(UnetArgs { threads, .. })
    | Verb::Release(ReleaseArgs { threads, .. })
    | Verb::Score(ScoreArgs { threads, .. })
    | Verb::Vae(VaeArgs { threads, .. })) = &verb;
    rayon::ThreadPoolBuilder::new()
        .num_threads(*threads)
        .build_global()
        .context("threads")?;
    rpo_nn::on_pool(|| match verb {
        Verb::Unet(args) => unet(args),
        Verb::Release(args) => release(&args),
        Verb::Score(args) => score(&args),
        Verb::Vae(args) => vae(&args.model),
    })
}

fn unet(args: UnetArgs) -> Result<()> {
    let from = args.from.unwrap_or_else(|| args.model.join("unet"));
    let (_, _, began_with) = train::base(&args.model, &from)?;
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
        began_with,
        decay: None,
    };
    let mut run = Run::open(Start {
        model: args.model,
        from,
        state: args.state,
        settings,
        minutes: args.minutes,
        until: args.until,
        report_every: args.report_every,
        save_every: args.save_every,
        sheet_every: args.sheet_every,
    })?;
    run.train()
}

fn release(args: &ReleaseArgs) -> Result<()> {
    let own = state::newest(&args.decay_state);
    let save = match &own {
        Some(save) => save.clone(),
        None => state::newest(&args.state).ok_or_else(|| {
            BadInput::new(format!(
                "{}: no save of a training\n  hint: rpo-pretrain unet --state {} makes one",
                args.state.display(),
                args.state.display()
            ))
        })?,
    };
    let mut record = state::read_record(&save)?;
    if own.is_none() {
        record.settings.decay = Some((record.step, args.steps));
        take_over(&save, &record, &args.decay_state)?;
    }
    let Some((first, steps)) = record.settings.decay else {
        return Err(BadInput::new(format!(
            "{}: a training, not a release\n  hint: name another folder for the decay's own state",
            args.decay_state.display()
        ))
        .into());
    };
    let from = args.from.clone().unwrap_or_else(|| args.model.join("unet"));
    let mut run = Run::open(Start {
        model: args.model.clone(),
        from,
        state: args.decay_state.clone(),
        settings: record.settings,
        minutes: f64::INFINITY,
        until: first + steps,
        report_every: 2.,
        save_every: 5.,
        sheet_every: 0.,
    })?;
    run.train()?;
    let (weights, averages) = run.losses()?;
    println!("held-out loss of the weights {weights}\nheld-out loss of the averages {averages}");
    let config = args.model.join("unet/config.json");
    state::write_unet(&run.state().averages, &config, &args.to)?;
    println!("wrote {}", args.to.display());
    Ok(())
}

/// Begins a state folder with a copy of a save under another record.
fn take_over(save: &Path, record: &state::Record, to: &Path) -> Result<()> {
    let inner = || -> Result<()> {
        fs::create_dir_all(to)?;
        let new = tempfile::Builder::new().prefix(".new-").tempdir_in(to)?;
        for entry in fs::read_dir(save)? {
            let entry = entry?;
            fs::copy(entry.path(), new.path().join(entry.file_name()))?;
        }
        fs::write(
            new.path().join("record.json"),
            serde_json::to_vec_pretty(record)?,
        )?;
        let name = save.file_name().context("a save without a name")?;
        fs::rename(new.keep(), to.join(name))?;
        Ok(())
    };
    inner().with_context(|| to.display().to_string())
}

fn score(args: &ScoreArgs) -> Result<()> {
    let pipeline = Pipeline::load(&args.model)?;
    let params = match &args.unet {
        Some(folder) => load_unet(folder, None)?.1,
        None => pipeline.unet_params.clone(),
    };
    let unet = pipeline.unet(&params.constant())?;
    let captions = score::captions();
    let place = Place::default();
    let judges = Judges::new(
        DualEncoder::load(&args.clip, &place)?,
        VitEncoder::load(&args.vit, &place)?,
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
    println!(
        "{:<30} noun  (by means)  scene  colour  accessory  CLIP-T",
        format!("{} pictures", captions.len())
    );
    for (name, s) in &rows {
        println!(
            "{name:<30} {:.3}    {:.3}    {:.3}   {:.3}      {:.3}   {:.4}",
            s.noun, s.noun_without_text, s.scene, s.colour, s.accessory, s.clip_t
        );
    }
    let table: serde_json::Map<String, serde_json::Value> = rows
        .iter()
        .map(|(name, s)| Ok((name.to_string(), serde_json::to_value(s)?)))
        .collect::<Result<_>>()?;
    let path = args.to.join("score.json");
    fs::write(&path, serde_json::to_vec_pretty(&table)?).with_context(|| path.display().to_string())
}

fn vae(model: &Path) -> Result<()> {
    let found = vae::round_trips(&Pipeline::load(model)?)?;
    let each: Vec<String> = found.quickstart.iter().map(|x| format!("{x:.1}")).collect();
    println!(
        "150 pictures with looks: mean {:.2} dB, worst tenth {:.2} dB\nthe quickstart's references: {} dB",
        found.mean,
        found.worst_tenth,
        each.join(" ")
    );
    Ok(())
}
