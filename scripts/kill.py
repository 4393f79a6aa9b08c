"""Kills a run at random moments and compares what it leaves with an undisturbed one, byte by byte.

    python3 scripts/kill.py PROGRAM [--moments 20] [--seed 0] [--folder FOLDER] [-- ARGUMENTS OF THE RUN]

Each moment is a time drawn uniformly from an undisturbed run's and a signal: KILL, TERM, INT, HUP, USR1, or STOP with CONT and then KILL. A
run is killed until the drawn number of moments is used up, up to four times in a row, and resumed to its end; each has its own folder
and its own cache. Exit codes are held too: 75 after TERM, INT, HUP and USR1 (or the signal's own while the program starts), 0 at the end.

Not compared, because they hold times or paths: times.json, life.json, log.txt, .rpo-lock, TensorBoard's event files, the report's page and data; resolved.toml, plan.json and run.json are compared with the run's own folder replaced. Nothing unfinished may
be left in the run folder or in its cache.
"""

import argparse
import collections
import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

RUN = ["ablation_lambda", "--with", "smoke", "--set", "subjects.count=1", "--set", "training.steps=6"]
TIMES = {"times.json", "life.json", "log.txt", ".rpo-lock", "report.html", "report.json"}
PATHS = {"resolved.toml", "plan.json", "run.json"}
SIGNALS = ["KILL", "TERM", "INT", "HUP", "USR1", "STOP"]


def command(program, own, out):
    return [program, "run", *own, "--set", f"output={out}", "--out", str(out / "run")]


def start(program, own, out):
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "said", "ab") as said:
        return subprocess.Popen(command(program, own, out), stdout=said, stderr=said, preexec_fn=heed)


def heed():
    """Signals that this script was started without, as in the background, are not ignored by the run."""
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(one, signal.SIG_DFL)


def files(out):
    """What must be equal, by path."""
    found = {}
    for path in sorted((out / "run").rglob("*")):
        name = str(path.relative_to(out))
        if not path.is_file() or path.name in TIMES or "tensorboard" in path.parts:
            continue
        data = path.read_bytes()
        if path.name in PATHS:
            data = data.replace(str(out).encode(), b"OUT")
        found[name] = data
    return found


def unfinished(out):
    return [str(path) for path in out.rglob(".rpo-unfinished-*")]


def phase(out):
    """What the run was doing, by what it had written."""
    run = out / "run"
    cells = list(run.glob("trajectories/*/*/seed-*"))
    latest = [path for path in run.glob("trajectories/*/*/seed-*/state/latest.json")]
    if not (run / "resolved.toml").exists():
        return "start"
    if not cells or not list(run.glob("trajectories/*/*/seed-*/references/*")):
        return "negatives"
    if (run / "report.html").exists():
        return "report"
    done = []
    for path in latest:
        try:
            done.append(json.loads(path.read_text())["done"])
        except (OSError, ValueError, KeyError):
            done.append(False)
    if done and all(done) and len(done) == len(cells):
        return "test"
    return "training" if latest else "first validation"


def disturb(child, kind):
    if kind == "STOP":
        child.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        child.send_signal(signal.SIGCONT)
        time.sleep(0.05)
        kind = "KILL"
    child.send_signal(getattr(signal, "SIG" + kind))
    return kind, child.wait()


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("program")
    ask.add_argument("--moments", type=int, default=20)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--folder", type=pathlib.Path)
    own, _, run = " ".join(sys.argv[1:]).partition(" -- ")
    args = ask.parse_args(own.split())
    run = run.split() or RUN
    program = str(pathlib.Path(args.program).resolve())
    folder = args.folder or pathlib.Path(tempfile.mkdtemp(prefix="rpo-kill-"))
    draw = random.Random(args.seed)
    begin = time.monotonic()
    alone = folder / "alone"
    if start(program, run, alone).wait() != 0:
        sys.exit((alone / "said").read_text())
    duration, expected = time.monotonic() - begin, files(alone)
    print(f"undisturbed: {duration:.1f} s, {len(expected)} files compared")
    phases, codes, wrong, runs, used = collections.Counter(), collections.Counter(), [], 0, 0
    while used < args.moments:
        out = folder / f"run-{runs}"
        for _ in range(min(draw.randint(1, 4), args.moments - used)):
            wanted = draw.choice(SIGNALS)
            child = start(program, run, out)
            try:
                child.wait(draw.uniform(0, duration))
                continue  # It ended before: no moment of a run.
            except subprocess.TimeoutExpired:
                pass
            where = phase(out)
            kind, code = disturb(child, wanted)
            used += 1
            print(f"{used}: {wanted} while {where}: {code}", flush=True)
            phases[where] += 1
            codes[f"{wanted} {code}"] += 1
            if code not in ({-9} if kind == "KILL" else {75, 0, -getattr(signal, "SIG" + kind)}):
                wrong.append(f"{out}: exit code {code} after {kind} ({where})")
        code = start(program, run, out).wait()
        found = files(out)
        if code != 0:
            wrong.append(f"{out}: exit code {code} at the end: {(out / 'said').read_text()[-400:]}")
        wrong += [f"{out}: {name}" for name in sorted(expected.keys() | found.keys()) if expected.get(name) != found.get(name)]
        wrong += [f"left: {path}" for path in unfinished(out)]
        runs += 1
        if not wrong:
            shutil.rmtree(out)
    print(f"{used} moments in {runs} runs; by phase: {dict(phases)}; signal and exit code: {dict(codes)}")
    print(f"{len(wrong)} differences", *wrong[:40], sep="\n  ")
    if not wrong and not args.folder:
        shutil.rmtree(folder)
    sys.exit(bool(wrong))


main()
