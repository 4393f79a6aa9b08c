//! Progress of a run: bars on a terminal, plain lines elsewhere; and the time spent per phase.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rpo_experiment::run::{Phase, Times, duration};
use rpo_files::tell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Reports one unit of work after another.
pub struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    cell_started: Instant,
    before: f64,
    last_line: Instant,
    work_done: f64,
    work_all: f64,
    work_resumed: f64,
    /// Time of the current cell so far, per phase.
    pub times: Times,
}

impl Progress {
    /// `work_all`: cost of the whole run in U-Net forwards, from which the remaining time is estimated.
    pub fn new(work_all: f64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar =
                ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr_with_hz(5));
            let style = ProgressStyle::with_template("{bar:24} {percent:>3}% {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let now = Instant::now();
        Self {
            bar,
            started: now,
            cell_started: now,
            before: 0.0,
            last_line: now,
            work_done: 0.0,
            work_all,
            work_resumed: 0.0,
            times: Times::default(),
        }
    }

    /// A cell begins, or resumes after earlier starts that took `times`.
    pub fn begin(&mut self, times: Times) {
        self.cell_started = Instant::now();
        self.before = times.total;
        self.times = times;
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
        let line = format!("{message} · {}", self.left());
        match &self.bar {
            Some(bar) => {
                bar.set_position((1000.0 * self.work_done / self.work_all.max(1.0)) as u64);
                bar.set_message(line);
            }
            None if self.last_line.elapsed() > Duration::from_secs(10) => {
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
    }

    /// Prints a line above the bar.
    pub fn line(&self, text: &str) {
        match &self.bar {
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

    fn left(&self) -> String {
        let done = self.work_done - self.work_resumed;
        let seconds = self.started.elapsed().as_secs_f64();
        let validation = 100.0 * self.times.validation_share();
        if done < 1.0 || seconds < 1.0 {
            return format!("validation {validation:.0} % of the time");
        }
        let rate = done / seconds;
        let left = (self.work_all - self.work_done).max(0.0) / rate;
        format!(
            "{rate:.0} forwards/s · {} left · validation {validation:.0} % of the time",
            duration(left)
        )
    }
}
