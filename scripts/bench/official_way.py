"""What an experiment over rules takes here, in PyTorch like for like, and in PyTorch the official way: measured parts, composed.

    cargo build
    python scripts/bench/official_way.py target/debug/rpo-bench experiments/ablation_lambda.toml [--with experiments/sizes/paper.toml]
        [--run runs/ablation_lambda-...] [--rounds 5] [--json FILE]

- **ours**: one trajectory a subject and seed; all rules choose from its validation scores; pictures are drawn as the file says.
- **like for like**: the same steps, pairs, solver, batches and trajectories in PyTorch + diffusers.
- **official way**: one run for each different (λ_val, mean), and each draws its own negatives, validation and test pictures, with
  50 steps of DDIM, one picture at a time (guidance makes a batch of 2); one pair a gradient step's pass, 2 trainable and 2 frozen
  passes; all steps are run; no validation at step 0. Validation interval and numbers of pictures stay those of the file, so that
  the science is the same; the published code draws four times as many negatives.

The parts are measured in this run, in turns, on the embedded model; the totals are composed from them and the file's counts. The
counts are held against `rpo-train check`. With --run, the checkpoints that were tested are counted in a finished run and its own
clock is printed beside the composed total; else every rule is taken to choose a different checkpoint, the worst case for us.
Left out on every side: loading, the two judges of the test pictures, saving.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import turns

PROMPTS = {"train": 8, "validation": 8, "test": 17}  # StickerBench

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
turns.arguments(parser)
parser.add_argument("experiment", type=Path)
parser.add_argument("--with", dest="overlays", action="append", default=[], type=Path)
parser.add_argument("--run", type=Path, help="folder of a finished run of the same experiment")
parser.set_defaults(rounds=5)
args = parser.parse_args()


def merge(into, table):
    for key, value in table.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


schema = json.loads(Path("experiments/schema.json").read_text())
e = {key: value.get("default") for key, value in schema["properties"].items()}
for path in [args.experiment, *args.overlays]:
    merge(e, tomllib.loads(path.read_text()))
if e.get("arm") or e["recipe"] != {"preset": "ours"} or e["subjects"]["source"] != "stickerbench" or e["model"]["path"] != "micro":
    sys.exit("this script composes experiments over rules alone: recipe `ours`, StickerBench, the embedded model")

cells = e["subjects"]["count"] * len(e["seeds"])
steps, pairs, every = e["training"]["steps"], e["training"]["batch"], e["validation"]["every"]
sampler, batch = e["sampler"], e["sampler"]["batch"]
prompts = {
    "negatives": PROMPTS["train"] * 4,
    "validation": (e["validation"]["prompts"] or PROMPTS["validation"]) * e["validation"]["pictures_per_prompt"],
    "test": (e["test"]["prompts"] or PROMPTS["test"]) * e["test"]["pictures_per_prompt"],
}
scored = steps // every + bool(steps % every)
rules = len(e["rules"]["lambda"]) * len(e["rules"]["mean"])
# At λ = 0 and 1 every mean is the same.
arms = len({(l, m if 0 < l < 1 else "") for l in e["rules"]["lambda"] for m in e["rules"]["mean"]})
most = rules + bool(e["rules"]["last"]) + 1

check = subprocess.run(
    [Path(args.binary).with_name("rpo-train"), "check", args.experiment] + [x for path in args.overlays for x in ("--with", path)],
    capture_output=True,
    text=True,
    check=True,
).stdout
forwards = cells * (
    2 * sampler["steps"] * (prompts["negatives"] + (scored + 1) * prompts["validation"] + most * prompts["test"]) + steps * pairs * 8
)
told = int(re.search(r"at most (\d+) U-Net forwards", check)[1])
if forwards != told:
    sys.exit(f"this script counts {forwards} U-Net forwards, rpo-train check {told}: one of them is wrong")

tested, clock = float(most), None
if args.run:
    found = sorted(args.run.glob("trajectories/*/*/*/test/step-*.json"))
    tested = len(found) / len({path.parent for path in found})
    clock = json.loads((args.run / "times.json").read_text())

# Pictures and pairs by part, for all subjects.
ours = {
    "negatives": cells * prompts["negatives"],
    "training": cells * steps,
    "validation": cells * (scored + 1) * prompts["validation"],
    "test": cells * tested * prompts["test"],
}
official = {
    "negatives": cells * arms * prompts["negatives"],
    "training": cells * arms * steps * pairs,
    "validation": cells * arms * scored * prompts["validation"],
    # The last step needs no run of its own, but its pictures.
    "test": cells * (arms + bool(e["rules"]["last"])) * prompts["test"],
}

both = turns.Turns(args)
about = both.about
turns.headline(about, args.rounds)
print("measured, ms: median [quartiles] (min-max)")
drawn = f"sample:{batch}:{sampler['solver']}:{sampler['steps']}"
medians = {}
for work, here in [
    (f"forward:{2 * batch}", True),
    (drawn, True),
    (f"score:{batch}", True),
    (f"step:{pairs}", True),
    ("forward:2", True),
    ("decode:1", True),
    ("sample:1:ddim:50", False),
    ("score:1", False),
    ("step:1", False),
]:
    row = both.measure(work, ours=here)
    for side in ("ours", "torch"):
        if side in row:
            medians[side, work] = statistics.median(row[side]["wall"]) / 1e3
            print(f"  {work:26} {side:6} {turns.spread(row[side]['wall'])}", flush=True)
both.close()


def one_batched(side):
    """Seconds of a picture drawn and scored, and of a gradient step."""
    return medians[side, drawn] / batch, medians[side, f"score:{batch}"] / batch, medians[side, f"step:{pairs}"]


def compose(counts, draw, score, step):
    return {
        "negatives": counts["negatives"] * (draw + score),
        "training": counts["training"] * step,
        "validation": counts["validation"] * (draw + score),
        "test": counts["test"] * (draw + score),
    }


here = compose(ours, *one_batched("ours"))
alike = compose(ours, *one_batched("torch"))
theirs = compose(official, *(medians["torch", work] for work in ("sample:1:ddim:50", "score:1", "step:1")))
units = {"negatives": "pictures", "training": "passes", "validation": "pictures", "test": "pictures"}
print(f"composed from these, {cells} trajectories, {tested:g} tested checkpoints each" + ("" if args.run else " (at most)"))
print(f"official way: {arms} runs a subject; seconds; a pass of training is {pairs} pairs here and like for like, 1 the official way")
print(f"{'part':11} {'count':>9} {'ours':>9} {'like for like':>14} {'ratio':>6}   {'count':>9} {'official way':>13} {'times ours':>11}")
rows = []
for part in [*ours, "all"]:
    a, b, c = (sum(x.values()) if part == "all" else x[part] for x in (here, alike, theirs))
    n, m = ("", "") if part == "all" else (f"{ours[part]:.0f}", f"{official[part]:.0f}")
    print(f"{part:11} {n:>9} {a:9.1f} {b:14.1f} {a / b:6.2f}   {m:>9} {c:13.1f} {c / a:11.1f}  {units.get(part, '')}")
    rows.append({"part": part, "count": n, "ours": a, "like_for_like": b, "official_count": m, "official": c})
if clock:
    parts = ", ".join(f"{key} {value:.1f}" for key, value in clock.items() if isinstance(value, (int, float)))
    print(f"measured whole, by the run's own clock, seconds: {parts}")
if args.json:
    with open(args.json, "a") as file:
        file.write(json.dumps({**about, "experiment": str(args.experiment), "composed": rows, "run": clock}) + "\n")
