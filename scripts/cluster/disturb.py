"""Disturbs arrays on a real Slurm at random moments and compares what they leave with an undisturbed local run, byte by byte.

    python3 scripts/cluster/disturb.py PROGRAM [--count 20] [--seed 0] [--folder FOLDER]

Eight cells, two at a time, on a Slurm of one machine (slurm.sh beside this file; root). Each disturbance is drawn from KINDS, each kind
at least once. Whenever Slurm has nothing left of an unfinished run, the same `submit` is given again, as a person would. When a run is
finished and disturbances are left, another one begins. Held at the end of each: the same bytes as the undisturbed run, and every cell
finished exactly once, by the logs. Told for each: what the cells said of the steps they saved and went on from, and for kills how
long ago the last save was.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
EXPERIMENT = ["quickstart", "--with", "smoke"]
KEYS = ["subjects.count=4", "seeds=[0,1]", "training.steps=240", "validation.every=40", "rules.last=true", "lora.rank=2",
        "training.learning_rate=1e-3", "training.save_minutes=0.02", "sampler.steps=8"]
COMPARED = ["trajectories/**/metrics.jsonl", "trajectories/**/*.safetensors", "trajectories/**/*.png", "trajectories/**/test/*.json",
            "table.csv", "eval.json"]
CELLS = 8


class Bench:
    def __init__(self, program, folder, draw):
        self.program, self.folder, self.draw = program, folder, draw
        self.disk, self.cluster = folder / "disk", folder / "cluster"
        self.disk.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "none", self.disk], check=True)
        self.slurm("start")
        os.environ["SLURM_CONF"] = str(self.cluster / "slurm.conf")
        self.node = self.said("sinfo", "--noheader", "--format=%n").split()[0]

    def slurm(self, verb):
        subprocess.run([HERE / "slurm.sh", verb, self.cluster], check=True, stdout=subprocess.DEVNULL)

    def said(self, *words):
        return subprocess.run(words, capture_output=True, text=True).stdout

    def close(self):
        self.slurm("stop")
        subprocess.run(["umount", "-l", self.disk])

    def arguments(self, out):
        sets = [word for key in [*KEYS, f"output={out}"] for word in ("--set", key)]
        return [*EXPERIMENT, *sets, "--out", str(out / "run")]

    def submit(self, out, *more):
        words = [self.program, "submit", *self.arguments(out), "--jobs", "2", *more, "--", "--gres=gpu:1", "--cpus-per-task=1"]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"submit: {done.stderr}")
        return next(line for line in done.stdout.splitlines() if "to send" in line)

    def status(self, out):
        return json.loads(self.said(self.program, "status", str(out / "run"), "--json"))

    def elements(self, state=None):
        queue = self.said("squeue", "--array", "--noheader", "--format=%F_%K %T").split("\n")
        rows = [row.split() for row in queue if row and not row.startswith("N/A")]
        return [name for name, now in rows if "N/A" not in name and state in (None, now)]

    def heal(self):
        """As an administrator would: an element whose slurmstepd was killed stays RUNNING for ever, and is queued again; a drained
        node is resumed. Slurm may drain one, or forget a submission, when its controller is killed within seconds of it."""
        for row in self.said("squeue", "--array", "--noheader", "--states=RUNNING", "--format=%F_%K %A").splitlines():
            element, job = row.split()
            lost = lambda: not self.said("pgrep", "-f", rf"slurmstepd: \[{job}\.").strip()
            if lost() and (time.sleep(3) or lost()) and element in self.elements("RUNNING"):
                print(f"       {element} runs without slurmstepd: queued again", flush=True)
                subprocess.run(["scontrol", "requeue", element])
        if "drain" in self.said("sinfo", "--noheader", "--format=%T"):
            subprocess.run(["scontrol", "update", f"nodename={self.node}", "state=resume"])
        held = [row.split()[0] for row in self.said("squeue", "--array", "--noheader", "--format=%A %r").splitlines() if "held" in row]
        for job in held:
            subprocess.run(["scontrol", "release", job])

    def pids(self, out, pattern):
        return [int(pid) for pid in self.said("pgrep", "-f", pattern.format(run=out / "run")).split()]


def to_an_element(bench, out, *words):
    running = bench.elements("RUNNING")
    if not running:
        return None
    element = bench.draw.choice(running)
    # It asks on while the element is queued again.
    child = subprocess.Popen([*words, element], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1)
    child.kill()
    child.wait()
    return element


def usr1(bench, out):
    return to_an_element(bench, out, "scancel", "--signal=USR1", "--batch")


def requeue(bench, out):
    return to_an_element(bench, out, "scontrol", "requeue")


def cancel(bench, out):
    return to_an_element(bench, out, "scancel")


def cancel_all(bench, out):
    subprocess.run(["scancel", "--me"])
    return "all"


def killed(bench, out, pattern):
    pids = bench.pids(out, pattern)
    if not pids:
        return None
    pid = bench.draw.choice(pids)
    held = [path for path in (out / "run").rglob("latest.json") if time.time() - path.stat().st_mtime < 60]
    ages = sorted(time.time() - path.stat().st_mtime for path in held if not json.loads(path.read_text())["done"])
    os.kill(pid, signal.SIGKILL)
    return f"process {pid}, last saves {', '.join(f'{age:.1f}' for age in ages)} s ago"


def kill_cell(bench, out):
    return killed(bench, out, "cell {run}")


def kill_script(bench, out):
    return killed(bench, out, "slurm_script")


def kill_stepd(bench, out):
    return killed(bench, out, "slurmstepd")


def drain(bench, out):
    name = f"nodename={bench.node}"
    subprocess.run(["scontrol", "update", name, "state=drain", "reason=test"], check=True)
    time.sleep(4)
    subprocess.run(["scontrol", "update", name, "state=resume"], check=True)
    return bench.node


def restart(bench, daemon):
    pid = int((bench.cluster / f"{daemon}.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    time.sleep(2)
    bench.slurm("start")
    return f"process {pid}"


def restart_controller(bench, out):
    return restart(bench, "slurmctld")


def restart_slurmd(bench, out):
    return restart(bench, "slurmd")


def read_only(bench, out):
    """What is open stays writable, as it may on a file system that is remounted; nothing new is."""
    subprocess.run(["mount", "--bind", out, out], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", out], check=True)
    time.sleep(3)
    subprocess.run(["umount", "-l", out], check=True)
    return "3 s"


def full(bench, out):
    filler = bench.disk / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=64k"], stderr=subprocess.DEVNULL)
    time.sleep(3)
    filler.unlink()
    return "3 s"


KINDS = [usr1, requeue, cancel, cancel_all, kill_cell, kill_script, kill_stepd, drain, restart_controller, restart_slurmd, read_only, full]


def files(run):
    return {str(path.relative_to(run)): path.read_bytes() for pattern in COMPARED for path in run.glob(pattern)}


def logs(out):
    return {path: path.read_text() for path in (out / "run/slurm").glob("*_*.log")}


def said_since(before, after):
    """What cells said of the steps they saved and went on from."""
    words = ("saved after step", "goes on after step", "error: ")
    new = [line for path, text in after.items() for line in text[len(before.get(path, "")):].splitlines()]
    return [line.replace("/seed-", " ") for line in new if any(word in line for word in words)]


def lost_steps(out):
    """By cell, the steps that each start after a signal trains again, and the number of starts after anything else."""
    lost, other = [], 0
    events = {}
    order = sorted(logs(out).items(), key=lambda item: [int(n) for n in item[0].stem.split("_")])
    for line in (line for _, text in order for line in text.splitlines()):
        cell, _, told = line.partition(": ")
        if told.startswith("saved after step"):
            events[cell] = int(told.split()[3])
        elif told.startswith("goes on after step"):
            saved = events.pop(cell, None)
            if saved is None:
                other += 1
            else:
                lost.append(saved - int(told.split()[-1]))
    return lost, other


def finish(bench, out):
    """Submits until nothing is left."""
    for _ in range(20):
        while bench.elements():
            bench.heal()
            time.sleep(0.5)
        status = bench.status(out)
        if status["running"]:
            time.sleep(1)
        elif status["finished"] == CELLS:
            return
        else:
            print("  ", bench.submit(out, *(["--again"] if any(cell["given_up"] for cell in status["cells"]) else [])), flush=True)
    sys.exit(f"not finished: {status}")


def compare(bench, out, expected):
    subprocess.run([bench.program, "report", str(out / "run")], check=True, stdout=subprocess.DEVNULL)
    found = files(out / "run")
    wrong = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    text = "\n".join(logs(out).values())
    finished = [line.split(": ")[0] for line in text.splitlines() if line.endswith(": finished")]
    if len(finished) != len(set(finished)):
        wrong.append(f"finished twice: {finished}")
    starts = sum(cell["starts"] for cell in bench.status(out)["cells"])
    lost, other = lost_steps(out)
    print(f"   {len(expected)} files compared, {len(wrong)} differ; {len(set(finished))} cells finished once, in {starts} starts;",
          f"{len(lost)} went on after a signal, {sum(lost)} steps lost; {other} after a kill or a failure", *wrong, flush=True)
    return wrong


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("program")
    ask.add_argument("--count", type=int, default=20)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--folder", type=pathlib.Path)
    args = ask.parse_args()
    draw = random.Random(args.seed)
    folder = args.folder or pathlib.Path(tempfile.mkdtemp(prefix="rpo-disturb-", dir="/tmp"))
    bench = Bench(str(pathlib.Path(args.program).resolve()), folder, draw)
    wrong, number, run = [], 0, 0
    kinds = [*KINDS[:args.count], *(draw.choice(KINDS) for _ in range(args.count - len(KINDS)))]
    draw.shuffle(kinds)
    try:
        alone = bench.folder / "alone"
        begin = time.monotonic()
        subprocess.run([bench.program, "run", *bench.arguments(alone), "--jobs", "2"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        expected = files(alone / "run")
        print(f"undisturbed: {time.monotonic() - begin:.0f} s, {len(expected)} files", flush=True)
        while kinds:
            out = bench.disk / f"run-{run}"
            out.mkdir()
            print(f"run {run}:", bench.submit(out), flush=True)
            while kinds and bench.status(out)["finished"] < CELLS:
                time.sleep(draw.uniform(0.5, 5))
                bench.heal()
                if not bench.elements():
                    print("  ", bench.submit(out), flush=True)
                    time.sleep(3)
                before = logs(out)
                hit = kinds[-1](bench, out)
                if hit is None:
                    continue
                number += 1
                time.sleep(4)
                print(f"{number:3} {kinds.pop().__name__:19} {hit}", *said_since(before, logs(out)), sep="\n        ", flush=True)
            finish(bench, out)
            wrong += compare(bench, out, expected)
            shutil.rmtree(out)
            run += 1
    finally:
        bench.close()
    print(f"{number} disturbances, {run} runs, {len(wrong)} wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
