//! When a run last changed.

use rpo_experiment::plan::{Cell, Plan};
use rpo_experiment::run::Run;

/// When the latest trajectory was written, in UTC.
pub(super) fn ended(plan: &Plan, run: &Run) -> String {
    let written = |cell: &Cell| {
        let about = std::fs::metadata(run.trajectory(cell).times_path());
        about.and_then(|m| m.modified()).ok()
    };
    let time = plan.cells.iter().filter_map(written).max();
    let seconds = time
        .and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |d| d.as_secs());
    let (y, m, d) = civil(seconds / 86400);
    format!(
        "{y}-{m:02}-{d:02} {:02}:{:02} UTC",
        seconds / 3600 % 24,
        seconds / 60 % 60
    )
}

/// Days since 1970 as year, month, day (Howard Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (
        yoe + era * 400 + u64::from(month <= 2),
        month,
        doy - (153 * mp + 2) / 5 + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
    }
}
