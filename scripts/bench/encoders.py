"""Image towers of ALIGN, CLIP and DINO at their true sizes, here and in PyTorch, in turns.

    cargo build -p rpo-bench && python scripts/bench/encoders.py target/debug/encoders [--threads 2] [--keep DIR]

Random weights (`scripts/parity/encoder_folders.py`), f32, preprocessing left out on both sides. Printed are the medians of
the wall time and of the processor time of all threads; where other programs run, the second is the one to trust.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("binary", type=Path)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--keep", type=Path)
args = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(args.threads)

import torch  # noqa: E402
from transformers import AlignModel, CLIPModel, ViTModel  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "parity"))
import encoder_folders  # noqa: E402

torch.set_num_threads(args.threads)
torch.set_grad_enabled(False)
WORK = {
    "align-base": (AlignModel, 289, (8, 32)),
    "clip-vit-base-patch32": (CLIPModel, 224, (32,)),
    "clip-vit-base-patch16": (CLIPModel, 224, (8,)),
    "clip-vit-large-patch14": (CLIPModel, 224, (8,)),
    "dino-vits16": (ViTModel, 224, (32,)),
}


def ticks(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1e3


def own() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return (usage.ru_utime + usage.ru_stime) * 1e3


def compare(name: str, folder: Path) -> None:
    kind, side, sizes = WORK[name]
    model = kind.from_pretrained(folder, dtype=torch.float32).eval()
    environment = {**os.environ, "RAYON_NUM_THREADS": str(args.threads)}
    command = [str(args.binary), str(folder), str(side)]
    ours = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    for n in sizes:
        pixels = torch.randn(n, 3, side, side)
        rows = []
        for round_ in range(args.rounds + 1):
            before = ticks(ours.pid)
            ours.stdin.write(f"{n}\n")
            ours.stdin.flush()
            wall = float(ours.stdout.readline())
            cpu = ticks(ours.pid) - before
            start, before = time.perf_counter(), own()
            model(pixel_values=pixels) if kind is ViTModel else model.get_image_features(pixel_values=pixels)
            if round_:
                rows.append((wall, cpu, (time.perf_counter() - start) * 1e3, own() - before))
        w, c, tw, tc = (statistics.median(column) for column in zip(*rows))
        print(
            f"{name:24} {n:3} pictures  wall ms: here {w:8.0f}, torch {tw:8.0f}, ratio {w / tw:.2f};  "
            f"processor ms: here {c:8.0f}, torch {tc:8.0f}, ratio {c / tc:.2f}",
            flush=True,
        )
    ours.stdin.close()
    ours.wait()


print(f"torch {torch.__version__}, {args.threads} threads, {args.rounds} rounds in turns, medians", flush=True)
with tempfile.TemporaryDirectory() as temporary:
    for name in WORK:
        folder = (args.keep or Path(temporary)) / name
        if not (folder / "model.safetensors").exists():
            encoder_folders.build(name, folder)
        compare(name, folder)
