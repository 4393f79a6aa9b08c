"""What the arms of a run have reached so far on test pictures, by arm, over the subjects that are finished in it: the checkpoint that
λ_val 0.5 chose, for every arm on its own subjects, where `rpo-train report` waits until all have the same.

    python scripts/tuned.py RUN [--seed 0] [--subjects unicorn,lemon]

For settings on DEV subjects; no results. Needs Python 3.11 alone.
"""

import argparse
import json
import statistics
from pathlib import Path


def harmonic(score, weight=0.5):
    """The λ-Harmonic mean of a picture's scores."""
    return 1 / (weight / score["image"] + (1 - weight) / score["text"])


def chosen(cell):
    """The step with the best mean score on validation pictures; 0 is among them, and the first of equals counts."""
    best = None
    for line in (cell / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["kind"] == "validation" and "variant" not in record:
            reward = statistics.fmean(harmonic(score) for score in record["scores"])
            if best is None or reward > best[0]:
                best = reward, record["step"]
    return best[1]


def figures(cell, step):
    """Means over a cell's test pictures."""
    test = json.loads((cell / f"test/step-{step:06}.json").read_text())
    pictures = test["pictures"]
    by_name = {
        column["name"]: statistics.fmean(p["values"][i] for p in pictures)
        for i, column in enumerate(test["columns"])
    }
    return by_name | {"0.5-H": statistics.fmean(harmonic(p["score"]) for p in pictures)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--subjects", help="these alone, in all arms")
    args = parser.parse_args()
    only = args.subjects and set(args.subjects.split(","))
    for arm in sorted((args.run / "trajectories").iterdir()):
        rows, steps = [], []
        for cell in sorted(arm.glob(f"*/seed-{args.seed}")):
            if only and cell.parent.name not in only or not (cell / "test").exists():
                continue
            step = chosen(cell)
            if (cell / f"test/step-{step:06}.json").exists():
                rows.append(figures(cell, step))
                steps.append(step)
        if rows:
            means = {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}
            told = "  ".join(f"{name} {value:6.3f}" for name, value in means.items())
            print(f"{arm.name:<60}{len(rows)}  {told}  steps {steps}", flush=True)


if __name__ == "__main__":
    main()
