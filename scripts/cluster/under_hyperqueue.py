"""Works a small run off with HyperQueue, kills two of its cells, submits again, and compares with a local run, file by file.

    python scripts/cluster/under_hyperqueue.py PROGRAM [--folder FOLDER]

Needs the package `hyperqueue`, which has a server, a worker and a client, and no `hq` command. Tried with 0.27.0.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig
from hyperqueue.ffi.protocol import ResourceRequest

CELLS = 8
EXPERIMENT = ["quickstart", "--with", "smoke", "--set", "subjects.count=4", "--set", "seeds=[0,1]", "--set", "training.steps=8",
              "--set", "lora.rank=2"]
COMPARED = ["trajectories/**/metrics.jsonl", "trajectories/**/*.safetensors", "trajectories/**/*.png", "trajectories/**/test/*.json", "table.csv"]


def program(path, verb, *args, out=None):
    more = [*EXPERIMENT, "--set", f"output={out}", "--out", str(out / "run")] if out else []
    done = subprocess.run([path, verb, *args, *more], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{verb}: {done.stderr}")
    return done.stdout


def submit(client, path, run):
    """Submits every cell and waits; returns the messages of those that failed, by number."""
    job = Job(max_fails=None, default_workdir=run)
    for _ in range(CELLS):
        job.program([path, "cell", str(run)], resources=ResourceRequest(cpus=1))
    submitted = client.submit(job)
    if client.wait_for_jobs([submitted], raise_on_error=False):
        return {}
    return {task: failed.error for task, failed in client.get_failed_tasks(submitted).items()}


def disturb(run):
    for signal in ["-KILL", "-TERM"]:
        time.sleep(4)
        found = subprocess.run(["pgrep", "-f", f"cell {run}"], capture_output=True, text=True).stdout.split()
        if found:
            subprocess.run(["kill", signal, found[0]], check=True)


def files(run):
    return {str(path.relative_to(run)): path.read_bytes() for pattern in COMPARED for path in run.glob(pattern)}


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("program")
    ask.add_argument("--folder", type=pathlib.Path)
    args = ask.parse_args()
    path = str(pathlib.Path(args.program).resolve())
    folder = args.folder or pathlib.Path(tempfile.mkdtemp(prefix="rpo-hq-"))
    program(path, "run", out=folder / "alone")
    program(path, "prepare", out=folder / "array")
    run = folder / "array/run"
    (folder / "server").mkdir()
    with LocalCluster(server_dir=str(folder / "server")) as cluster:
        cluster.start_worker(WorkerConfig(cores=2))
        client = cluster.client()
        killer = threading.Thread(target=disturb, args=[run])
        killer.start()
        print("first submission, failed:", submit(client, path, run))
        killer.join()
        print("second submission, failed:", submit(client, path, run))
    program(path, "report", str(run))
    expected, found = files(folder / "alone/run"), files(run)
    differ = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    print(f"{len(expected)} files compared, {len(differ)} differ", *differ)
    sys.exit(bool(differ))


if __name__ == "__main__":
    main()
