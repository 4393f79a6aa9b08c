"""ViT-I along the steps of a run with the embedded model: of its validation pictures, by arm, over all subjects.

    python scripts/along.py target/debug/rpo-train RUN [--seed 0]

Calls `rpo-train eval` on the pictures of every validation. Validation pictures choose; these figures are for settings, no results.

Needs Python 3.11 alone.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VIT = Path(__file__).resolve().parents[1] / "assets/micro/eval_dino"


def vit_i(binary, places, step):
    """Mean over subjects; `places` are their folders in the run."""
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        for place in places:
            name = place.parent.name
            shutil.copytree(place / "references", work / "references" / name)
            shutil.copytree(place / "samples/validation" / step, work / "pictures" / name)
        numbers = {int(p.name.split("-")[1]) for p in (work / "pictures").glob("*/prompt-*.png")}
        prompts = [f"prompt {i}" for i in range(max(numbers) + 1)]
        arguments = ["eval", "--references", work / "references", "--pictures", work / "pictures", "--vit", VIT, "--names", "prompt-{prompt}-*.png",
                     "--out", work / "eval.json", "--prompts", *prompts]
        done = subprocess.run([str(a) for a in (binary, *arguments)], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        table = json.loads((work / "eval.json").read_text())["table"]
    return next(row["mean"] for row in table if row["metric"] == "ViT-I")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for arm in sorted((args.run / "trajectories").iterdir()):
        places = sorted(arm.glob(f"*/seed-{args.seed}"))
        steps = [{p.name for p in (place / "samples/validation").iterdir()} for place in places]
        row = []
        for step in sorted(set.union(*steps)):
            of = [place for place, own in zip(places, steps) if step in own]
            fewer = f" ({len(of)})" if len(of) < len(places) else ""
            row.append(f"{int(step[5:])}: {vit_i(args.binary.resolve(), of, step):.3f}{fewer}")
        print(f"{arm.name:<28}", "  ".join(row), flush=True)


if __name__ == "__main__":
    main()
