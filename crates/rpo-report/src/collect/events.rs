//! TensorBoard event files of a trajectory, written while it trains, and completed afterwards.

use super::told::{Teller, Told, What};
use crate::tensorboard::{EventWriter, Kept};
use anyhow::Result;
use rpo_data::picture;
use rpo_experiment::plan::{Cell, Plan};
use rpo_experiment::run::{Record, Run};
use std::fs;
use std::path::Path;

/// Longest side of a picture.
const SIDE: u32 = 256;

/// The event file of one start of a training. What was told reaches it with [`CellEvents::flush`].
///
/// Each start writes a file of its own. Its first event makes readers forget what earlier files have beyond the step where this
/// one begins: steps that were told, lost in a kill and trained again.
pub struct CellEvents<'a> {
    teller: Teller<'a>,
    writer: EventWriter,
    /// No event is earlier, even if the machine's clock is set back, or behind that of the machine before.
    clock: f64,
}

impl<'a> CellEvents<'a> {
    /// Begins a file, after `records`, which are the record so far. What earlier files lack of them is told again, with their
    /// times where known.
    ///
    /// # Errors
    /// I/O errors; records that no rule can read.
    pub fn begin(
        run: &Run,
        plan: &'a Plan,
        cell: &'a Cell,
        records: &[Record],
        clock: f64,
    ) -> Result<Self> {
        let past = Past::of(run, plan, cell, records)?;
        let trained = past
            .told
            .last()
            .map_or(0, |last| last.step.saturating_add(1));
        let from = past.lacks_from().unwrap_or(trained);
        past.go_on(run, cell, from, clock)
    }

    /// Tells the next record.
    ///
    /// # Errors
    /// A picture that cannot be read; records that no rule can read.
    pub fn tell(&mut self, record: &Record, clock: f64) -> Result<()> {
        self.clock = self.clock.max(clock);
        for told in self.teller.tell(record)? {
            write(&mut self.writer, &told, self.clock)?;
        }
        Ok(())
    }

    /// Appends what was told to the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        self.writer.flush()
    }
}

/// Writes what the event files of a finished cell lack: all, for runs of earlier versions. No clock is known then, and the times
/// are that of the latest event.
///
/// # Errors
/// I/O errors.
pub(super) fn complete(run: &Run, plan: &Plan, cell: &Cell, records: &[Record]) -> Result<()> {
    // A report of many cells need not read what a trainer wrote to the end.
    if is_newer(&run.events(cell), &run.trajectory(cell).metrics()) {
        return Ok(());
    }
    let past = Past::of(run, plan, cell, records)?;
    match past.lacks_from() {
        None => Ok(()),
        Some(from) => past.go_on(run, cell, from, 0.0)?.flush(),
    }
}

/// Whether an event file was written after the last record. A writer that failed ended before it.
fn is_newer(events: &Path, record: &Path) -> bool {
    let written = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).ok();
    let files = fs::read_dir(events).into_iter().flatten().flatten();
    let newest = files.filter_map(|file| written(&file.path())).max();
    written(record).is_some_and(|record| newest.is_some_and(|newest| newest >= record))
}

/// The records so far, and what the event files have of them.
struct Past<'a> {
    teller: Teller<'a>,
    told: Vec<Told>,
    kept: Kept,
}

impl<'a> Past<'a> {
    fn of(run: &Run, plan: &'a Plan, cell: &'a Cell, records: &[Record]) -> Result<Self> {
        let mut teller = Teller::new(plan, cell, run.trajectory(cell));
        let mut told = Vec::new();
        for record in records {
            told.extend(teller.tell(record)?);
        }
        // A removed picture is not told, and not missed.
        told.retain(|one| !matches!(&one.what, What::Picture(file) if !file.exists()));
        let kept = Kept::read(&run.events(cell))?;
        Ok(Self { teller, told, kept })
    }

    /// When this was told, if it was.
    fn clock(&self, one: &Told) -> Option<f64> {
        match &one.what {
            What::Number(value) => self.kept.number(&one.tag, one.step, *value),
            What::Picture(_) => self.kept.picture(&one.tag, one.step),
        }
    }

    /// The first step that the files do not have in whole.
    fn lacks_from(&self) -> Option<usize> {
        let lacks = self.told.iter().find(|one| self.clock(one).is_none());
        lacks.map(|one| one.step)
    }

    /// A new file, which tells all of `from` and later steps.
    fn go_on(self, run: &Run, cell: &Cell, from: usize, clock: f64) -> Result<CellEvents<'a>> {
        let clock = clock.max(self.kept.clock());
        let mut writer = EventWriter::create(&run.events(cell), clock)?;
        let of_now = self.told.iter().filter(|one| one.step >= from);
        let first = of_now.clone().next().and_then(|one| self.clock(one));
        writer.restart(from, first.unwrap_or(clock))?;
        for one in of_now {
            write(&mut writer, one, self.clock(one).unwrap_or(clock))?;
        }
        Ok(CellEvents {
            teller: self.teller,
            writer,
            clock,
        })
    }
}

fn write(writer: &mut EventWriter, told: &Told, clock: f64) -> Result<()> {
    match &told.what {
        What::Number(value) => writer.scalar(&told.tag, told.step, *value, clock),
        What::Picture(file) if !file.exists() => Ok(()),
        What::Picture(file) => writer.image(&told.tag, told.step, &small(file)?, clock),
    }
}

/// The bytes of a picture, made smaller if it is large.
fn small(file: &Path) -> Result<Vec<u8>> {
    let whole = picture::load(file)?;
    let (w, h) = whole.dimensions();
    let scale = f64::from(SIDE) / f64::from(w.max(h));
    if scale >= 1.0 {
        return Ok(picture::png_bytes(&whole));
    }
    let of = |n: u32| ((f64::from(n) * scale).round() as u32).max(1);
    Ok(picture::png_bytes(&picture::resize(&whole, of(w), of(h))))
}
