"""The course of the λ-Harmonic reward over training, as in Fig. 4 of the paper, from the records of a run.

    python scripts/curves.py runs/ablation_lambda-… [--lambda 0.3] [--margin 0.01]

For each arm: the mean over subjects (and seeds) of validation pictures' ALIGN-I, ALIGN-T and λ-Harmonic at every validated step, and in
how many trajectories the reward rises and falls: its peak is at least the margin above step 0 and above the last validated step.
A rule with patience ends a training because its reward has fallen, which makes "above the last" likelier: compare runs with
rules.patience = 0. The peak of several noisy means is also above their mean without any course. Only the standard library is needed.
"""

import argparse
import json
from pathlib import Path


def curves(trajectory, lam):
    """step -> (mean ALIGN-I, mean ALIGN-T, mean reward) of one trajectory."""
    found = {}
    for line in trajectory.read_text().splitlines(keepends=True):
        if not line.endswith("\n"):
            continue  # Cut off by a kill; the same command writes it again.
        record = json.loads(line)
        if record["kind"] == "validation":
            scores = record["scores"]
            reward = [1 / (lam / s["image"] + (1 - lam) / s["text"]) for s in scores]
            columns = [s["image"] for s in scores], [s["text"] for s in scores], reward
            found[record["step"]] = [sum(c) / len(c) for c in columns]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--lambda", type=float, default=0.3, dest="lam", help="λ of the reward")
    parser.add_argument("--margin", type=float, default=0.01, help="how far a peak is above both ends")
    args = parser.parse_args()
    arms = {}
    for trajectory in sorted(args.run.glob("trajectories/*/*/*/metrics.jsonl")):
        found = curves(trajectory, args.lam)
        if found:
            arms.setdefault(trajectory.parts[-4], []).append(found)
    for arm, all_of_arm in arms.items():
        print(f"{arm}: {len(all_of_arm)} trajectories\n  step  ALIGN-I  ALIGN-T  {args.lam}-Harmonic")
        # Only steps that every trajectory has: rules may have ended some earlier.
        for step in sorted(set.intersection(*(set(found) for found in all_of_arm))):
            means = [sum(found[step][i] for found in all_of_arm) / len(all_of_arm) for i in range(3)]
            print("  {:4d}  {:7.4f}  {:7.4f}  {:.4f}".format(step, *means))
        rises = falls = both = 0
        for found in all_of_arm:
            first, last, peak = found[0][2], found[max(found)][2], max(f[2] for f in found.values())
            rises += peak - first >= args.margin
            falls += peak - last >= args.margin
            both += peak - first >= args.margin and peak - last >= args.margin
        n = len(all_of_arm)
        print(f"  peak {args.margin} or more above step 0 in {rises} of {n}, above the last in {falls}, above both in {both}")


if __name__ == "__main__":
    main()
