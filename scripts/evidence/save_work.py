"""Do cheaper validations come to the same conclusions? On the embedded model, over several StickerBench subjects.

    python scripts/evidence/save_work.py target/debug/rpo-train --subjects 6 --out DIR

Every sampler trains the same subjects with the same seeds, draws its own negatives and validation pictures, and scores every
20th step; the noise is common. Compared with 50 steps of DDIM: rank correlation of the validation rewards over the steps of a
subject, their mean absolute difference, how often the same step is chosen, and the regret: how much reward, as 50 steps of DDIM
measure it, is lost by the step that the cheaper validation chose. Fewer pictures are subsets of those of 50 steps of DDIM. The spread of the
rewards over the steps is printed for scale. Only the standard library is needed.
"""

import argparse
import itertools
import json
import re
import statistics
import subprocess
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("binary")
parser.add_argument("--subjects", type=int, default=6)
parser.add_argument("--steps", type=int, default=160)
parser.add_argument("--out", type=Path, required=True)
args = parser.parse_args()

SAMPLERS = [("ddim", 50), ("dpmpp_2m", 25), ("dpmpp_2m", 20), ("dpmpp_2m", 15), ("dpmpp_2m", 10)]
LAMBDAS = [0.3, 0.5, 0.7]
FILE = """
name = "{name}"
output = "{out}"
[subjects]
source = "stickerbench"
count = {subjects}
[sampler]
solver = "{solver}"
steps = {solver_steps}
[training]
steps = {steps}
learning_rate = 1e-4
batch = 2
[recipe]
preset = "ours"
[validation]
every = 20
pictures_per_prompt = 2
[rules]
lambda = [0.3, 0.5, 0.7]
mean = ["harmonic"]
patience = 0
last = false
[test]
prompts = 2
pictures_per_prompt = 1
"""


def run(solver, solver_steps):
    """Scores by subject and step: a list of (image, text), one a picture; and the seconds it took."""
    name = f"{solver}-{solver_steps}"
    file = args.out / f"{name}.toml"
    file.write_text(FILE.format(name=name, out=args.out.resolve(), subjects=args.subjects, solver=solver, solver_steps=solver_steps, steps=args.steps))
    start = time.monotonic()
    subprocess.run([args.binary, str(file)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    scores = {}
    folders = [f for f in args.out.iterdir() if re.fullmatch(re.escape(name) + "-[0-9a-f]+", f.name)]
    for log in folders[0].glob("trajectories/*/*/seed-0/metrics.jsonl"):
        subject = scores.setdefault(log.parts[-3], {})
        for line in map(json.loads, log.read_text().splitlines()):
            if line["kind"] == "validation":
                subject[line["step"]] = [(s["image"], s["text"]) for s in line["scores"]]
    return scores, seconds


def reward(pictures, l):
    """Mean over the pictures of the λ-harmonic mean (Eq. 5)."""
    return statistics.fmean(0.0 if 0.0 in (i, t) else 1.0 / (l / i + (1 - l) / t) for i, t in pictures)


def ranks(values):
    order = sorted(range(len(values)), key=values.__getitem__)
    result = [0.0] * len(values)
    for rank, i in enumerate(order):
        result[i] = rank
    return result


def compare(reference, other):
    rho, difference, same, regret, sign, spread = [], [], [], [], [], []
    for subject, l in itertools.product(reference, LAMBDAS):
        steps = sorted(reference[subject])
        a = [reward(reference[subject][s], l) for s in steps]
        b = [reward(other[subject][s], l) for s in steps]
        rho.append(statistics.correlation(ranks(a), ranks(b)))
        difference.append(statistics.fmean(abs(x - y) for x, y in zip(a, b)))
        best, chosen = a.index(max(a)), b.index(max(b))
        same.append(best == chosen)
        regret.append(a[best] - a[chosen])
        pairs = list(itertools.combinations(range(len(steps)), 2))
        sign.append(statistics.fmean((a[i] < a[j]) == (b[i] < b[j]) for i, j in pairs))
        spread.append(max(a) - min(a))
    return f"{statistics.fmean(rho):10.2f} {statistics.fmean(difference):10.4f} {statistics.fmean(sign):10.2f} {sum(same):6}/{len(same):<3} {statistics.fmean(regret):10.4f} {statistics.fmean(spread):10.4f}"


args.out.mkdir(parents=True, exist_ok=True)
results = {s: run(*s) for s in SAMPLERS}
full, seconds = results[SAMPLERS[0]]
print(f"{args.subjects} subjects, {args.steps} steps, validations every 20, λ {LAMBDAS}, embedded model; against 50 steps of DDIM, 16 pictures")
print(f"{'validation':22} {'rank corr.':>10} {'|diff|':>10} {'order':>10} {'same step':>10} {'regret':>10} {'spread':>10} {'run, s':>8}")
for (solver, n), (scores, s) in results.items():
    print(f"{solver + ' ' + str(n):22} {compare(full, scores)} {s:8.0f}")
for name, keep in [("ddim 50, 8 pictures", 2), ("ddim 50, 4 pictures", 4)]:
    fewer = {u: {s: pictures[::keep] for s, pictures in steps.items()} for u, steps in full.items()}
    print(f"{name:22} {compare(full, fewer)}")
