"""Runs small experiments with two programs and demands the same results, whatever the files look like.

    python scripts/same.py OLD NEW [--keep DIR] [--only NAME ...]

OLD and NEW are two builds of `rpo-train`. Compared are, of every trajectory: the weights of each kept step, tensor by tensor and
bit by bit; the pixels of every picture; the pairs of scores of each validation and the losses of each step; the steps that rules
chose; the figures of every row of the test table. Exit code 0 if all are equal, 1 if anything differs.

A program whose run folders look otherwise gets a reader of its own in READERS.

Needs numpy and Pillow. Tried with numpy 2.4, Pillow 12.1.
"""

import argparse
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

# The last step is always kept: what rules choose may be the base, which has no weights of its own.
SMALL = ["--with", "smoke", "--set", "subjects.count=1", "--set", "rules.last=true"]
TWO_ARMS = """
[subjects]
count = 2
[lora]
rank = 2
dropout = 0.1
[training]
learning_rate = 1e-3
[[arm]]
name = "ours"
[[arm]]
name = "without L_pref"
recipe = { l_pref_weight = 0.0 }
[rules]
last = true
"""

# Name, arguments, and after which saved step the run is killed once and started again.
EXPERIMENTS = [
    ("whole U-Net", ["quickstart", *SMALL], None),
    ("λ", ["ablation_lambda", *SMALL, "--set", "training.gradient_accumulation=2", "--set", "training.batch=2"], None),
    ("LoRA", ["quickstart", *SMALL, "--set", "lora.rank=2", "--set", "lora.dropout=0.2", "--set", "training.learning_rate=1e-3"], None),
    ("official", ["quickstart", *SMALL, "--set", "recipe.preset=official"], None),
    ("two arms", ["two_arms.toml", "--with", "smoke"], None),
    ("interrupted", ["quickstart", *SMALL, "--set", "training.steps=8", "--set", "rules.patience=0"], 2),
]


def start(program, arguments, work):
    out = ["--out", "run", "--set", f"output={work / 'output'}"]
    log = open(work / "log", "a")
    return subprocess.Popen([program, *arguments, *out], cwd=work, stdout=log, stderr=log)


def run(program, arguments, kill_after, work):
    work.mkdir(parents=True)
    (work / "two_arms.toml").write_text(TWO_ARMS)
    if kill_after is not None:
        process = start(program, arguments, work)
        while not any(saved_step(path) >= kill_after for path in (work / "run").rglob("latest.json")):
            if process.poll() is not None:
                sys.exit(f"{program}: ended before it could be killed; see {work / 'log'}")
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    if start(program, arguments, work).wait() != 0:
        sys.exit(f"{program} {' '.join(arguments)} failed:\n{(work / 'log').read_text()[-2000:]}")
    return work / "run"


def saved_step(path):
    try:
        return json.loads(path.read_text())["step"]
    except (OSError, ValueError, KeyError):
        return -1


NUMBERS = {"F32": np.float32, "F16": np.float16, "U8": np.uint8}


def tensors(path):
    """A safetensors file's tensors, by name."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    found = {}
    for name, about in header.items():
        begin, end = (8 + length + offset for offset in about["data_offsets"])
        found[name] = np.frombuffer(data[begin:end], NUMBERS[about["dtype"]]).reshape(about["shape"])
    return found


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"))


def read_0_1(run):
    """Versions 0.1 and 0.2: metrics.jsonl, eval.json, report.json."""
    results = {kind: {} for kind in ("weights", "pictures", "pairs", "losses", "chosen", "test")}
    root = run / "trajectories"
    for record in sorted(root.rglob("metrics.jsonl")):
        folder = record.parent
        cell = str(folder.relative_to(root))
        for path in [*folder.glob("unet/**/*.safetensors"), *folder.glob("lora/**/*.safetensors")]:
            for name, value in tensors(path).items():
                results["weights"][cell, str(path.relative_to(folder)), name] = value
        for path in folder.rglob("*.png"):
            results["pictures"][cell, str(path.relative_to(folder))] = pixels(path)
        for line in map(json.loads, record.read_text().splitlines()):
            if line["kind"] == "validation":
                results["pairs"][cell, line["step"]] = [(s["image"], s["text"]) for s in line["scores"]]
            else:
                terms = line.get("terms") or {"sim": line["l_sim"], "pref": line["l_pref"]}
                terms = [terms.get(name, 0.0) for name in ("sim", "pref")]
                results["losses"][cell, line["step"]] = [*terms, line["loss"], line["grad_norm"]]
    table = json.loads((run / "eval.json").read_text())
    metrics = [metric["name"] for metric in table["metrics"]]
    for trajectory in json.loads((run / "report.json").read_text())["trajectories"]:
        for outcome in trajectory["outcomes"]:
            steps = outcome["chosen_step"], outcome["stopped_at_step"]
            results["chosen"][trajectory["id"], outcome["rule"]] = steps
    for row in table["rows"]:
        for metric, cell in zip(metrics, row["cells"]):
            results["test"][row["arm"], metric] = (cell["mean"], cell["paper_std"], cell["comparisons"])
    return results


READERS = {"0.1.0": read_0_1, "0.2.0": read_0_1}


def read(run):
    version = json.loads((run / "run.json").read_text())["version"]
    return READERS[version](run)


def numbers(value):
    """All numbers in a value, in their order."""
    if isinstance(value, np.ndarray):
        return value.ravel().astype(np.float64)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return np.concatenate([numbers(part) for part in value] or [np.zeros(0)])
    return np.array([value] if isinstance(value, (int, float)) else [], np.float64)


def equal(a, b):
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and a == b


def differences(old, new):
    """Lines that say what differs and by how much; how many things of each kind were compared."""
    lines, counts = [], {}
    for kind in old:
        a, b = old[kind], new[kind]
        counts[kind] = len(a)
        if not a:
            lines.append(f"{kind}: nothing to compare")
        keys = sorted(set(a) & set(b), key=str)
        if alone := sorted(set(a) ^ set(b), key=str):
            lines.append(f"{kind}: {len(alone)} on one side alone; the first is {alone[0]}")
        other = [key for key in keys if not equal(a.get(key), b.get(key))]
        if not other:
            continue
        far = 0.0
        for key in other:
            x, y = numbers(a.get(key)), numbers(b.get(key))
            apart = np.abs(x - y).max(initial=0.0) if x.shape == y.shape else np.inf
            far = max(far, np.inf if np.isnan(apart) else apart)
        lines.append(f"{kind}: {len(other)} of {len(keys)} differ, by {far:.1e} at most; the first is {other[0]}")
    return lines, counts


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("old", type=Path)
    ap.add_argument("new", type=Path)
    ap.add_argument("--keep", type=Path, help="a new folder for the runs")
    ap.add_argument("--only", nargs="+", choices=[name for name, *_ in EXPERIMENTS])
    args = ap.parse_args()
    work = args.keep or Path(tempfile.mkdtemp())
    failed = False
    for name, arguments, kill_after in EXPERIMENTS:
        if args.only and name not in args.only:
            continue
        results, seconds = [], []
        for side, program in [("old", args.old), ("new", args.new)]:
            begin = time.monotonic()
            results.append(read(run(program.resolve(), arguments, kill_after, work / name / side)))
            seconds.append(time.monotonic() - begin)
        lines, counts = differences(*results)
        counted = ", ".join(f"{n} {kind}" for kind, n in counts.items())
        print(f"{name:<12} {'DIFFERS' if lines else 'same'}: {counted} ({seconds[0]:.0f} s, {seconds[1]:.0f} s)", flush=True)
        for line in lines:
            print(f"    {line}")
        failed |= bool(lines)
    if not args.keep:
        shutil.rmtree(work)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    os.environ.setdefault("RUST_BACKTRACE", "0")
    main()
