"""Do cheaper validations come to the same conclusions? On the embedded model, over several StickerBench subjects.

    python scripts/evidence/save_work.py target/debug/rpo-train --subjects 6 --out DIR [--same] [--samplers ddim:50,dpmpp_2m:15:0:0.6]

Every sampler trains the same subjects with the same seeds, draws its own negatives and validation pictures, and scores every
20th step; the noise is common. Compared with 50 steps of DDIM: rank correlation of the validation rewards over the steps of a
subject, their mean absolute difference, how often two steps keep their order and the same step is chosen, and the regret: how much
reward, as 50 steps of DDIM measure it, is lost by the step that the cheaper validation chose. The spread of the rewards over the
steps is printed for scale. A sampler is solver:steps, with :from:to the part of the trajectory that is guided.

Preferences make a training depend on the negatives, and so on the sampler: without --same the rows are about whole runs. With it
two arms of different learning rates train without preferences, on the same bits under every sampler, which is checked: the rows
are about the validation alone, and `arms` is how often the better of the two arms is the same one.

Fewer pictures are subsets of those of 50 steps of DDIM: one a prompt, and one for every other prompt. `halves` compares two
disjoint halves of them: what noise alone does to the choice. Only the standard library is needed.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("binary")
parser.add_argument("--subjects", type=int, default=6)
parser.add_argument("--steps", type=int, default=160)
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--same", action="store_true", help="train on the same bits under every sampler")
parser.add_argument(
    "--samplers",
    default="ddim:50,dpmpp_2m:25,dpmpp_2m:20,dpmpp_2m:15,dpmpp_2m:10,ddim:50:0:0.6,ddim:50:0.2:0.8,dpmpp_2m:15:0:0.6,dpmpp_2m:10:0:0.6",
    help="the first is what the others are compared with",
)
parser.add_argument("--with", dest="overlays", action="append", default=[], help="laid over every experiment")
args = parser.parse_args()

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
{interval}
[training]
steps = {steps}
learning_rate = 1e-4
batch = 2
[recipe]
preset = "ours"
{recipe}
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
{arms}
"""
SAME = """
[[arm]]
name = "fast"
[[arm]]
name = "slow"
training = { learning_rate = 3e-5 }
"""


def run(sampler):
    """Scores by (arm, subject) and step: a list of (image, text), one a picture; the training's records; and the seconds it took."""
    solver, steps, *interval = sampler.split(":")
    name = sampler.replace(":", "-")
    file = args.out / f"{name}.toml"
    text = FILE.format(
        name=name,
        out=args.out.resolve(),
        subjects=args.subjects,
        solver=solver,
        solver_steps=steps,
        interval=f"guidance_interval = [{', '.join(interval)}]" if interval else "",
        steps=args.steps,
        recipe="l_pref_weight = 0.0\nnegatives_per_prompt = 1" if args.same else "",
        arms=SAME if args.same else "",
    )
    file.write_text(text)
    command = [args.binary, str(file), "--out", str(args.out / name)] + [x for path in args.overlays for x in ("--with", path)]
    start = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    scores, trained = {}, {}
    for log in sorted((args.out / name).glob("trajectories/*/*/seed-0/metrics.jsonl")):
        cell = log.parts[-4], log.parts[-3]
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        scores[cell] = {l["step"]: [(s["image"], s["text"]) for s in l["scores"]] for l in lines if l["kind"] == "validation"}
        trained[cell] = [l for l in lines if l["kind"] != "validation"]
    return scores, trained, seconds


def passes(sampler):
    """U-Net passes a picture."""
    _, steps, *interval = sampler.split(":")
    n = int(steps)
    low, high = map(float, interval or (0, 1))
    return n + sum(low <= k / n < high for k in range(n))


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
    rho, difference, same, regret, order, spread = [], [], [], [], [], []
    best_of = {}
    for cell, l in itertools.product(reference, LAMBDAS):
        steps = sorted(reference[cell])
        a = [reward(reference[cell][s], l) for s in steps]
        b = [reward(other[cell][s], l) for s in steps]
        rho.append(statistics.correlation(ranks(a), ranks(b)))
        difference.append(statistics.fmean(abs(x - y) for x, y in zip(a, b)))
        best, chosen = a.index(max(a)), b.index(max(b))
        same.append(best == chosen)
        regret.append(a[best] - a[chosen])
        pairs = list(itertools.combinations(range(len(steps)), 2))
        order.append(statistics.fmean((a[i] < a[j]) == (b[i] < b[j]) for i, j in pairs))
        spread.append(max(a) - min(a))
        best_of.setdefault((cell[1], l), []).append((max(a), max(b)))
    two = [((a1 < a2) == (b1 < b2)) for (a1, b1), (a2, b2) in (v for v in best_of.values() if len(v) == 2)]
    arms = f"{sum(two)}/{len(two)}" if two else ""
    return (
        f"{statistics.fmean(rho):10.2f} {statistics.fmean(difference):8.4f} {statistics.fmean(order):6.2f} "
        f"{f'{sum(same)}/{len(same)}':>9} {statistics.fmean(regret):8.4f} {statistics.fmean(spread):8.4f} {arms:>7}"
    )


args.out.mkdir(parents=True, exist_ok=True)
samplers = args.samplers.split(",")
results = {s: run(s) for s in samplers}
full, trained, _ = results[samplers[0]]
if args.same and any(other != trained for _, other, _ in results.values()):
    raise SystemExit("the trainings differ: the rows would be about more than the validation")
pictures = len(next(iter(next(iter(full.values())).values())))
print(f"{args.subjects} subjects, {args.steps} steps, {pictures} pictures a validation, λ {LAMBDAS}, embedded model; against {samplers[0]}")
print(f"{'validation':24} {'passes':>6} {'rank corr.':>10} {'|diff|':>8} {'order':>6} {'same step':>9} {'regret':>8} {'spread':>8} {'arms':>7} {'run, s':>7}")
for sampler, (scores, _, seconds) in results.items():
    print(f"{sampler:24} {passes(sampler):6} {compare(full, scores)} {seconds:7.0f}")
part = lambda take: {cell: {s: take(p) for s, p in steps.items()} for cell, steps in full.items()}
for name, keep in [("half of the pictures", 2), ("a quarter", 4)]:
    print(f"{name:24} {passes(samplers[0]) // keep:6} {compare(full, part(lambda p: p[::keep]))}")
print(f"{'halves':24} {'':6} {compare(part(lambda p: p[::2]), part(lambda p: p[1::2]))}")
