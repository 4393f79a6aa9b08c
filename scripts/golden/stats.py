"""Reference values for the statistics of rpo-stats: Student t, sign-flip permutation, TOST, Holm, means and standard deviations.

Written with scipy 1.17.1 and numpy; deterministic. Run from the root of the repository:

    python scripts/golden/stats.py

Writes crates/rpo-stats/tests/golden/stats.json.
"""

import json
from pathlib import Path

import numpy as np
from scipy import stats

OUT = Path("crates/rpo-stats/tests/golden/stats.json")


def paired(after, before):
    """The paired t-test and the 95 % interval of the mean difference."""
    difference = np.subtract(after, before)
    n = len(difference)
    test = stats.ttest_rel(after, before)
    low, high = stats.t.interval(0.95, n - 1, loc=difference.mean(), scale=stats.sem(difference))
    return {
        "after": list(after),
        "before": list(before),
        "mean": difference.mean(),
        "std": difference.std(ddof=1),
        "low": low,
        "high": high,
        "p": test.pvalue,
    }


def holm(p):
    """Holm's step-down correction, straight from its definition: p ascending, (m - k) p, running maximum, at most 1.
    scipy itself has Benjamini-Hochberg only."""
    p = np.asarray(p)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]))
    return {"p": p.tolist(), "adjusted": adjusted.tolist()}


def pairs(difference, margin):
    """The exact sign-flip permutation test, and two one-sided t-tests against -margin and margin."""
    test = stats.permutation_test((difference,), np.sum, permutation_type="samples", n_resamples=np.inf)
    below = stats.ttest_1samp(difference, -margin, alternative="greater").pvalue
    above = stats.ttest_1samp(difference, margin, alternative="less").pvalue
    return {"difference": list(difference), "margin": margin, "permutation": test.pvalue, "tost": max(below, above)}


def main():
    rng = np.random.default_rng(20240712)
    cases = []
    for n, shift, spread in [(2, 0.1, 0.05), (3, 0.0, 0.2), (8, 0.02, 0.03), (16, 0.3, 0.01), (30, -0.01, 0.1), (200, 0.001, 0.02)]:
        before = rng.uniform(0.3, 0.9, n).round(6)
        after = (before + rng.normal(shift, spread, n)).round(6)
        cases.append(paired(after.tolist(), before.tolist()))
    cells = rng.uniform(0.2, 0.9, (4, 5, 3)).round(6)  # subject, prompt, picture
    table = {
        "values": cells.tolist(),
        "by_subject": cells.mean((1, 2)).tolist(),
        "paper_std": cells.mean(2).std(ddof=1),
    }
    more = np.random.default_rng(20240713)
    of = [(2, 0.1, 0.05), (5, 0.0, 0.01), (8, 0.02, 0.03), (12, 0.001, 0.002), (15, 0.01, 0.02), (17, 0.03, 0.04)]
    permuted = [pairs(more.normal(shift, spread, n).round(6).tolist(), 0.01) for n, shift, spread in of]
    # Ties, among them with 0.
    permuted += [pairs([0.25, 0.25, -0.25, 0.5, 0.0, 0.75], 0.2), pairs([0.1, 0.1, 0.1, -0.1, 0.2, 0.3, 0.1], 0.05)]
    golden = {
        "paired": cases,
        "pairs": permuted,
        "holm": [holm([0.01, 0.04, 0.03, 0.005]), holm([0.5, 0.6, 0.7]), holm([0.2]), holm([0.02, 0.02, 0.001, 0.9])],
        "table": table,
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
