//! The process that runs inputs one after the other. It writes down what it is about to read, so that another process knows what it
//! died of.

use crate::case::Case;
use crate::judge::{Fault, Verdict, judge, shape};
use crate::mutate::{Rng, mutate};
use crate::target::Target;
use anyhow::{Context, Result};
use rpo_data::random::{chance, choose, stream};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The most cases that mutations begin from, besides the valid ones.
const POOL: usize = 400;

/// What a worker is to do.
#[derive(Clone, Debug)]
pub struct Order {
    /// Seed of every draw.
    pub seed: u64,
    /// Number of the worker: the draws depend on it.
    pub batch: u64,
    /// Inputs at most.
    pub executions: u64,
    /// Time at most.
    pub time: Option<Duration>,
    /// Its own folder: `case/` is the input, `progress` its number, then `summary.json`.
    pub place: PathBuf,
    /// Folder of earlier findings of the target, which are tried first.
    pub findings: PathBuf,
}

/// What a worker did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Inputs read.
    pub executions: u64,
    /// Those that were accepted.
    pub accepted: u64,
    /// Different refusals, without numbers and names.
    pub refusals: BTreeSet<String>,
    /// By key, how often a fault showed, and what is known of the first.
    pub faults: BTreeMap<String, (u64, Fault)>,
}

/// The folder of a fault's input within `folder`.
pub fn folder_of(folder: &Path, key: &str) -> PathBuf {
    folder.join(&blake3::hash(key.as_bytes()).to_hex()[..10])
}

/// Runs inputs until the order is filled.
///
/// # Errors
/// I/O errors; a valid input that cannot be made.
pub fn work(target: &Target, order: &Order) -> Result<Summary> {
    let mut bench = Bench::new(order)?;
    let mut seeds = (target.seeds)().with_context(|| format!("seeds of {}", target.name))?;
    seeds.extend(found_before(&order.findings)?);
    let mut pool: Vec<Case> = Vec::new();
    let mut summary = Summary::default();
    let start = Instant::now();
    for n in 0..order.executions {
        if order.time.is_some_and(|time| start.elapsed() > time) {
            break;
        }
        let case = match seeds.get(n as usize) {
            Some(seed) => seed.clone(),
            None => drawn(target, &seeds, &pool, order, n),
        };
        bench.lay(n, &case, target.writes)?;
        let verdict = judge(target, &case, &bench.folder);
        summary.executions += 1;
        match verdict {
            Verdict::Accepted => summary.accepted += 1,
            Verdict::Refused(message) => {
                // A refusal not seen before is a place not reached before.
                if summary.refusals.insert(shape(&message)) && pool.len() < POOL {
                    pool.push(case);
                }
            }
            Verdict::Fault(fault) => {
                let before = summary.faults.entry(fault.key.clone());
                let (times, first) = before.or_insert_with(|| (0, fault));
                if *times == 0 {
                    let folder = folder_of(&order.place.join("faults"), &first.key);
                    fs::create_dir_all(&folder)?;
                    case.write(&folder, &Case::default())?;
                }
                *times += 1;
            }
        }
        if n % 32 == 0 || summary.faults.len() as u64 > bench.told {
            bench.told = summary.faults.len() as u64;
            bench.tell(&summary)?;
        }
    }
    bench.tell(&summary)?;
    Ok(summary)
}

/// Input number `n`: a valid case or one of the pool, changed.
fn drawn(target: &Target, seeds: &[Case], pool: &[Case], order: &Order, n: u64) -> Case {
    let names = [target.name, &order.batch.to_string(), &n.to_string()];
    let mut rng: Rng = stream(order.seed, "hostile", &names);
    let from = match pool.is_empty() || chance(&mut rng, 0.6) {
        true => choose(&mut rng, seeds),
        false => choose(&mut rng, pool),
    };
    let mut case = mutate(from, seeds, &mut rng);
    if let Some(repair) = target.repair
        && chance(&mut rng, 0.8)
    {
        repair(&mut case);
    }
    case
}

fn found_before(findings: &Path) -> Result<Vec<Case>> {
    let mut folders: Vec<PathBuf> = fs::read_dir(findings)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("case"))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders.iter().map(|folder| Case::read(folder)).collect()
}

/// The folder that inputs lie in, and the record of the current one.
struct Bench {
    place: PathBuf,
    folder: PathBuf,
    progress: fs::File,
    lies: Case,
    told: u64,
}

impl Bench {
    fn new(order: &Order) -> Result<Self> {
        let folder = order.place.join("case");
        fs::create_dir_all(&folder)?;
        Ok(Self {
            place: order.place.clone(),
            folder,
            progress: fs::File::create(order.place.join("progress"))?,
            lies: Case::default(),
            told: 0,
        })
    }

    fn lay(&mut self, n: u64, case: &Case, anew: bool) -> Result<()> {
        if anew {
            fs::remove_dir_all(&self.folder)?;
            fs::create_dir_all(&self.folder)?;
            self.lies = Case::default();
        }
        case.write(&self.folder, &self.lies)?;
        self.lies = case.clone();
        self.progress.rewind()?;
        self.progress.write_all(&n.to_le_bytes())?;
        Ok(())
    }

    fn tell(&self, summary: &Summary) -> Result<()> {
        let path = self.place.join("summary.json");
        let fresh = self.place.join("summary.new");
        fs::write(&fresh, serde_json::to_vec(summary)?)?;
        fs::rename(fresh, path)?;
        Ok(())
    }
}
