"""TensorBoard's own reader on the event files of a run, against the run's records.

    python scripts/parity/events.py RUN...                  finished, interrupted or still running
    python scripts/parity/events.py --try PROGRAM WORK      the same, of a run that it starts, kills and resumes

Checked with tensorboard 2.21. For every trajectory: each number of metrics.jsonl, and what follows from it (the reward of each rule
on the validation pictures, the step that each rule has chosen so far), is in the event files once, with the same bits; times do
not decrease; pictures decode. Of a training that goes on, what metrics.jsonl does not cover yet may be there too. With --try the
program is killed with SIGKILL while it trains, and TensorBoard's server is asked as well.
"""

import argparse
import io
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

# Between reading the records and the events, so that what was just recorded is told.
PATIENCE = 1.5
# Prompts of which a picture is told, at most.
PROMPTS = 3


def mean(kind, weight, image, text):
    """The λ-mean of a pair; 0 if a score is, as the harmonic mean tends to."""
    if kind == "harmonic":
        return 0.0 if image * text == 0 else 1 / (weight / image + (1 - weight) / text)
    if kind == "arithmetic":
        return weight * image + (1 - weight) * text
    sys.exit(f"mean {kind} is unknown here")


def records(folder):
    """The records that the saved state covers, and whether training is finished."""
    latest = json.loads((folder / "state/latest.json").read_text())
    data = (folder / "metrics.jsonl").read_bytes()[: latest["metrics_bytes"]]
    return [json.loads(line) for line in data.splitlines()], latest


def chosen(rule, rewards):
    """Index of the choice among the rewards so far."""
    if rule.get("kind") == "last":
        return len(rewards) - 1
    best = 0
    patience = rule["patience"]
    for i, reward in enumerate(rewards):
        if reward > rewards[best]:
            best = i
        elif isinstance(patience, int) and i - best >= patience:
            break
    return best


def wanted(all_records, plan, cell):
    """Numbers by tag and step, each with whether its bits are known; and the validations."""
    numbers, scored = {}, []
    rate = plan["arms"][cell["arm"]]["training"]["learning_rate"]
    for record in all_records:
        step = record["step"]
        if record["kind"] == "step":
            own = {"loss": record["loss"], "grad_norm": record["grad_norm"], "learning_rate": rate}
            own |= {f"l_{name}": value for name, value in record["terms"].items()}
            numbers |= {(f"training/{name}", step): (value, True) for name, value in own.items()}
            continue
        scored.append(record)
        pairs = np.array([(s["image"], s["text"]) for s in record["scores"]])
        numbers["validation/ALIGN-I", step] = (pairs[:, 0].mean(), False)
        numbers["validation/ALIGN-T", step] = (pairs[:, 1].mean(), False)
        for rule in plan["rules"]:
            rewards = [np.mean([mean(rule["mean"], rule["lambda"], s["image"], s["text"]) for s in v["scores"]]) for v in scored]
            if rule.get("kind") != "last":
                numbers[f"validation/reward/{rule['name']}", step] = (rewards[-1], False)
            numbers[f"chosen_step/{rule['name']}", step] = (float(scored[chosen(rule, rewards)]["step"]), True)
    return numbers, scored


def check(run):
    """Compares every trajectory with a saved state; says what was found."""
    run = Path(run)
    plan = json.loads((run / "plan.json").read_text())
    read = []
    for cell in plan["cells"]:
        folder = run / "trajectories" / cell["id"]
        if (folder / "state/latest.json").exists():
            read.append((cell, *records(folder)))
    assert read, f"{run}: no trajectory has a state yet"
    time.sleep(PATIENCE)
    for cell, all_records, latest in read:
        accumulator = EventAccumulator(str(run / "tensorboard" / cell["id"]), size_guidance={"scalars": 0, "images": 0}, purge_orphaned_data=True)
        accumulator.Reload()
        found, times = {}, {}
        tags = accumulator.Tags()
        for tag in tags["scalars"]:
            for event in accumulator.Scalars(tag):
                assert (tag, event.step) not in found, f"{cell['id']}: {tag} of step {event.step} is there twice"
                found[tag, event.step] = event.value
                times.setdefault(tag, []).append((event.step, event.wall_time))
        numbers, scored = wanted(all_records, plan, cell)
        missing = [key for key in numbers if key not in found]
        assert not missing, f"{cell['id']}: {len(missing)} numbers are missing, the first is {missing[0]}"
        for key, (value, same) in numbers.items():
            value, there = np.float32(value), np.float32(found[key])
            close = value.tobytes() == there.tobytes() if same else abs(value - there) <= 1e-6 * abs(value)
            assert close or (np.isnan(value) and np.isnan(there)), f"{cell['id']}: {key} is {there}, not {value}"
        more = [key for key in found if key not in numbers]
        assert not latest["done"] or not more, f"{cell['id']}: not recorded: {more[0]}"
        assert all(step >= latest["step"] for _, step in more), f"{cell['id']}: not recorded: {more}"
        pictures, each = 0, plan["experiment"]["validation"]["pictures_per_prompt"]
        for tag in tags["images"]:
            for image in accumulator.Images(tag):
                picture = Image.open(io.BytesIO(image.encoded_image_string))
                picture.load()
                assert picture.size == (image.width, image.height), tag
                times.setdefault(tag, []).append((image.step, image.wall_time))
                pictures += 1
        drawn = sum(min(PROMPTS, len(record["scores"]) // each) for record in scored)
        assert pictures >= drawn, f"{cell['id']}: {pictures} pictures of {drawn}"
        for tag, told in times.items():
            assert told == sorted(told) and [t for _, t in told] == sorted(t for _, t in told), f"{cell['id']}: times of {tag}"
        spent = max(t for told in times.values() for _, t in told) - min(t for told in times.values() for _, t in told)
        files = len(list((run / "tensorboard" / cell["id"]).iterdir()))
        state = "finished" if latest["done"] else f"at step {latest['step']}"
        print(f"  {cell['id']}, {state}: {len(numbers)} numbers as recorded, {len(more)} ahead, {pictures} pictures, {files} files, {spent:.1f} s", flush=True)


def served(run):
    """TensorBoard's server shows the losses of the records, each step once, in order."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    logs = Path(run) / "tensorboard"
    server = subprocess.Popen([sys.executable, "-m", "tensorboard.main", "--logdir", logs, "--port", str(port), "--host", "127.0.0.1"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        base = f"http://127.0.0.1:{port}/data/plugin/scalars/"
        for _ in range(60):
            time.sleep(0.5)
            try:
                tags = json.load(urllib.request.urlopen(base + "tags"))
                if tags:
                    break
            except OSError:
                pass
        for cell in json.loads((Path(run) / "plan.json").read_text())["cells"]:
            all_records, _ = records(Path(run) / "trajectories" / cell["id"])
            query = urllib.parse.urlencode({"run": cell["id"], "tag": "training/loss"})
            shown = json.load(urllib.request.urlopen(f"{base}scalars?{query}"))
            losses = [(r["step"], np.float32(r["loss"])) for r in all_records if r["kind"] == "step"]
            assert [(step, np.float32(value)) for _, step, value in shown] == losses, (shown, losses)
            print(f"  the server shows {len(losses)} losses of {cell['id']}", flush=True)
    finally:
        server.terminate()
        server.wait()


def tried(program, work):
    run = work / "run"
    command = [program, "quickstart", "--with", "smoke", "--set", "subjects.count=1", "--set", "training.steps=24",
               "--set", "validation.every=4", "--set", "rules.patience=0", "--set", f'output="{work}"', "--out", run]

    def start():
        return subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def until(step, child):
        while True:
            assert child.poll() is None, "it ended too early"
            for latest in run.glob("trajectories/*/*/*/state/latest.json"):
                try:
                    if json.loads(latest.read_text())["step"] >= step:
                        return
                except ValueError:
                    pass
            time.sleep(0.005)

    for step in (4, 12):
        child = start()
        until(step, child)
        print(f"running, from step {step}")
        check(run)
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
        child.wait()
        print("killed")
        check(run)
    assert start().wait() == 0
    print("resumed to its end")
    check(run)
    served(run)


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("runs", nargs="*", type=Path)
    ask.add_argument("--try", dest="program", nargs=2, metavar=("PROGRAM", "WORK"))
    args = ask.parse_args()
    for run in args.runs:
        print(run)
        check(run)
    if args.program:
        tried(Path(args.program[0]).resolve(), Path(args.program[1]).resolve())


if __name__ == "__main__":
    main()
