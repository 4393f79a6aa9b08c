//! Progress of a run: bars on a terminal, plain lines elsewhere; and the time spent per phase.

use crate::life::Start;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rpo_experiment::run::{Phase, Times, duration};
use rpo_files::{console, tell};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Reports one unit of work after another.
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    started: Instant,
    cell_started: Instant,
    before: f64,
    last_line: Instant,
    work_done: f64,
    work_all: f64,
    work_resumed: f64,
    cell: Option<Begun>,
    /// Time of the current cell so far, per phase.
    pub times: Times,
}

/// The current cell.
struct Begun {
    start: Start,
    /// Work of other cells before it.
    before: f64,
    /// Its own work, at most.
    all: f64,
}

impl Progress {
    /// `work_all`: cost of the whole run in U-Net forwards, from which the remaining time is estimated.
    pub fn new(work_all: f64) -> Self {
        let quiet = console::is_quiet();
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar =
                ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr_with_hz(5));
            // The message is cut where the terminal ends.
            let style = ProgressStyle::with_template("{bar:16} {percent:>3}% {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let now = Instant::now();
        Self {
            bar,
            quiet,
            started: now,
            cell_started: now,
            before: 0.0,
            last_line: now,
            work_done: 0.0,
            work_all,
            work_resumed: 0.0,
            cell: None,
            times: Times::default(),
        }
    }

    /// A cell of this much work begins, or resumes.
    pub fn begin(&mut self, start: Start, all: f64) {
        self.cell_started = Instant::now();
        self.times = start.folder.times();
        self.before = self.times.total;
        self.cell = Some(Begun {
            start,
            before: self.work_done,
            all,
        });
    }

    /// The cell ends like this.
    ///
    /// # Errors
    /// The same.
    pub fn end(&mut self, result: Result<()>) -> Result<()> {
        match self.cell.take() {
            Some(cell) => cell.start.end(result),
            None => result,
        }
    }

    /// The time of the current cell, earlier starts included.
    pub fn taken(&mut self) -> Times {
        self.times.total = self.before + self.cell_started.elapsed().as_secs_f64();
        self.times
    }

    /// Runs `work`, adding its time to `phase`.
    pub fn timed<T>(&mut self, phase: Phase, work: impl FnOnce(&mut Self) -> T) -> T {
        let start = Instant::now();
        let result = work(self);
        *self.times.phase(phase) += start.elapsed().as_secs_f64();
        result
    }

    /// `forwards` U-Net forwards are done; `resumed` ones came from disk and do not count for the rate.
    pub fn advance(&mut self, forwards: f64, resumed: bool, message: &str) {
        self.work_done += forwards;
        if resumed {
            self.work_resumed += forwards;
        }
        let rate = self.rate();
        if let Some(cell) = self.cell.as_mut().filter(|_| !resumed) {
            let work = [self.work_done - cell.before, cell.all];
            cell.start.sign(message, work, rate.unwrap_or(0.0));
        }
        let line = format!("{message} · {}", self.left());
        match &self.bar {
            Some(bar) => {
                bar.set_position((1000.0 * self.work_done / self.work_all.max(1.0)) as u64);
                bar.set_message(line);
            }
            None if !self.quiet && self.last_line.elapsed() > Duration::from_secs(10) => {
                self.last_line = Instant::now();
                let percent = 100.0 * self.work_done / self.work_all.max(1.0);
                tell!("{percent:3.0} % {line}");
            }
            None => {}
        }
    }

    /// Removes work that is no longer needed (an early stop) from the estimate.
    pub fn skip(&mut self, forwards: f64) {
        self.work_all = (self.work_all - forwards).max(self.work_done);
        if let Some(cell) = &mut self.cell {
            cell.all -= forwards;
        }
    }

    /// Prints a line above the bar, unless the program is quiet.
    pub fn line(&self, text: &str) {
        match &self.bar {
            None if self.quiet => {}
            Some(bar) => bar.suspend(|| tell!("{text}")),
            None => tell!("{text}"),
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Forwards that this process computed, without what came from disk.
    pub fn computed(&self) -> f64 {
        self.work_done - self.work_resumed
    }

    /// Forwards per second of this process, once they can be told.
    fn rate(&self) -> Option<f64> {
        let done = self.computed();
        let seconds = self.started.elapsed().as_secs_f64();
        (done >= 1.0 && seconds >= 1.0).then(|| done / seconds)
    }

    fn left(&self) -> String {
        let left = self
            .rate()
            .map_or("time left unknown yet".to_owned(), |rate| {
                let left = (self.work_all - self.work_done).max(0.0) / rate;
                format!("{} left", duration(left))
            });
        match 100.0 * self.times.validation_share() {
            share if share < 0.5 => left,
            share => format!("{left} · validation {share:.0} % of the time"),
        }
    }
}
