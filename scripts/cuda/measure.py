"""Checks and measures everything on one GPU, in one call, with the built programs, torch, diffusers, peft (LoRA) and
transformers (ALIGN) alone. Prints tables.

    cargo build -p rpo-train -p rpo-bench --bins --features rpo-train/cuda,rpo-bench/cuda
    cargo test -p rpo-nn --features cuda --lib --no-run
    python scripts/cuda/measure.py --programs target/debug [--tests target/debug/deps/rpo_nn-HASH] [--sd15 DIR] [--quick]

1. The kernels' tests: every operation, gradients and a step against the CPU, f32 and bf16.
   U-Net and VAE, micro and SD 1.5, against the CPU.
2. The GPU's rate of bf16 products (8192 cubed), as PyTorch reaches it: what MFU is measured against.
3. SD 1.5 at its true size (DIR, or made here on random weights; only its shapes count): forward at batch 16, whole and LoRA steps, decoding, against PyTorch eager and
   torch.compile (bf16 autocast for the step, channels_last, SDPA), in turns; model FLOPs by torch.utils.flop_counter; peak memory.
4. ALIGN's image tower, f32 on both sides, against transformers.
5. The micro ablation from end to end, on the GPU and on two of the CPU's cores.

A part that fails reports it and the rest continues. results.jsonl has every single time.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--programs", type=Path, required=True, help="the folder of rpo-train, rpo-bench and encoders")
parser.add_argument("--tests", type=Path)
parser.add_argument("--sd15", type=Path)
parser.add_argument("--micro", type=Path, default=Path("assets/micro"))
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--quick", action="store_true", help="no torch.compile, no ablation")
parser.add_argument("--out", type=Path, default=Path("results.jsonl"))
args = parser.parse_args()
TRAIN, BENCH, ENCODERS = (args.programs / name for name in ["rpo-train", "rpo-bench", "encoders"])

LIBRARIES = ["cu13/lib", "cudnn/lib"]


def library_path():
    """Where the CUDA wheels of this Python have their libraries: the programs do not know it where it is no usual place."""
    try:
        import nvidia

        found = [str(Path(root) / name) for root in nvidia.__path__ for name in LIBRARIES]
    except ImportError:
        found = []
    return ":".join([os.environ.get("LD_LIBRARY_PATH", "")] + found).strip(":")


ENVIRONMENT = {**os.environ, "LD_LIBRARY_PATH": library_path()}


def part(title):
    """Runs a part; errors are printed and the rest continues."""

    def run(f):
        print(f"\n== {title}", flush=True)
        start = time.time()
        try:
            f()
        except Exception as e:  # noqa: BLE001
            print(f"FAILED: {type(e).__name__}: {e}")
        print(f"({time.time() - start:.0f} s)", flush=True)

    return run


def note(**row):
    with open(args.out, "a") as file:
        file.write(json.dumps(row) + "\n")


@part("machine")
def _():
    subprocess.run([str(TRAIN), "doctor"], env=ENVIRONMENT)
    subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"])


@part("kernels against the CPU, f32 and bf16")
def _():
    if not args.tests:
        return print("no --tests: left out")
    done = subprocess.run([str(args.tests), "gpu::", "--nocapture", "--test-threads=1"], env=ENVIRONMENT, capture_output=True, text=True)
    print("\n".join(line for line in (done.stdout + done.stderr).splitlines() if line.startswith("test ") or "off by" in line or "skipped" in line))
    if done.returncode:
        print(done.stderr[-2000:])
    note(part="tests", code=done.returncode)


import torch  # noqa: E402

GPU = torch.device("cuda" if torch.cuda.is_available() else "cpu")
RATE = None
if GPU.type == "cpu":
    print("\nPyTorch has no GPU here: its figures are the CPU's, good for trying out this script alone")


def synchronize():
    if GPU.type == "cuda":
        torch.cuda.synchronize()


def seconds(f):
    synchronize()
    start = time.perf_counter()
    f()
    synchronize()
    return time.perf_counter() - start


@part("rate of bf16 products")
def _():
    global RATE
    side = 8192 if GPU.type == "cuda" else 512
    a, b = (torch.randn(side, side, device=GPU, dtype=torch.bfloat16) for _ in range(2))
    times = [seconds(lambda: a @ b) for _ in range(10)]
    RATE = 2 * side**3 / min(times)
    print(f"{RATE / 1e12:.0f} TFLOP/s")
    note(part="rate", flops=RATE)


class Ours:
    """A program that answers every line with milliseconds."""

    def __init__(self, *command, device="cuda:bf16", recompute=False):
        environment = {**ENVIRONMENT, "RPO_BENCH_DEVICE": device}
        if recompute:
            environment["RPO_BENCH_RECOMPUTE"] = "1"
        command = [str(word) for word in command]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def ask(self, words):
        self.child.stdin.write(words + "\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        if not line:
            raise RuntimeError(f"the program ended at `{words}`")
        return float(line)

    def close(self):
        with contextlib.suppress(OSError):
            self.child.stdin.close()
        self.child.wait()


def folder_of_sd15():
    if args.sd15:
        return args.sd15
    made = Path(tempfile.gettempdir()) / "rpo-sd15"
    if not (made / "model_index.json").exists():
        subprocess.run([sys.executable, str(Path(__file__).with_name("sd15.py")), str(made)], check=True)
    return made


class Torch:
    """The same work in PyTorch: recipe `official` as `scripts/bench/turns.py` has it, in bf16 on the GPU."""

    def __init__(self, folder, rank, compiled):
        from diffusers import AutoencoderKL, UNet2DConditionModel

        half = dict(torch_dtype=torch.bfloat16)
        load = lambda **how: UNet2DConditionModel.from_pretrained(folder, subfolder="unet", **how).to(GPU, memory_format=torch.channels_last)
        self.frozen = load(**half).eval().requires_grad_(False)
        self.rank = rank
        if rank:
            from peft import LoraConfig

            self.trained = load(**half).requires_grad_(False)
            self.trained.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
            for p in self.trained.parameters():
                if p.requires_grad:
                    p.data = p.data.float()
            self.trained.enable_gradient_checkpointing()
        else:
            self.trained = load()
        self.trained.train()
        self.parameters = [p for p in self.trained.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, 1e-5, fused=True)
        self.vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", **half).to(GPU, memory_format=torch.channels_last).eval()
        self.side, self.channels, self.width = self.frozen.config.sample_size, self.frozen.config.in_channels, self.frozen.config.cross_attention_dim
        if compiled:
            self.frozen, self.trained = torch.compile(self.frozen), torch.compile(self.trained)

    def inputs(self, batch, dtype=torch.bfloat16):
        torch.manual_seed(0)
        x = torch.randn(batch, self.channels, self.side, self.side, device=GPU).to(memory_format=torch.channels_last)
        return x.to(dtype), torch.randn_like(x), torch.arange(batch, device=GPU) * 997 % 1000, torch.randn(batch, 77, self.width, device=GPU, dtype=torch.bfloat16)

    def forward(self, batch):
        x, _, t, text = self.inputs(batch)
        with torch.no_grad():
            return self.frozen(x, t, text).sample

    def step(self, pairs):
        x, e, t, text = self.inputs(2 * pairs)
        with torch.no_grad():
            base = (self.frozen(x, t, text).sample.float() - e).square().mean((1, 2, 3))
        with torch.autocast(GPU.type, torch.bfloat16):
            out = self.trained(x, t, text).sample
        theta = (out.float() - e).square().mean((1, 2, 3))
        ell = (base[:pairs] - theta[:pairs]) - (base[pairs:] - theta[pairs:])
        loss = theta[:pairs].mean() - torch.nn.functional.logsigmoid(ell).mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()

    def decode(self, pictures):
        x, *_ = self.inputs(pictures)
        with torch.no_grad():
            for z in x.split(1):
                self.vae.decode(z / self.vae.config.scaling_factor).sample


def flops(f):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        f()
    return counter.get_total_flops()


def turns(name, start, works, rank=""):
    """Both sides alternating: `works` are requests and functions that do the same. Failures are reported and the next work continues."""
    ours = start()
    for words, work in works:
        try:
            for _ in range(3):
                ours.ask(words)
                seconds(work)
            rows = [(ours.ask(words), seconds(work) * 1e3) for _ in range(args.rounds)]
            mine, other = (statistics.median(column) for column in zip(*rows))
            line = f"{words:12} {rank:9} ours {mine:9.2f} ms   {name} {other:9.2f} ms   ratio {mine / other:.2f}"
            if RATE and "compile" not in name and words.split()[0] in ["forward", "step"]:
                n = flops(work)
                line += f"   {n / 1e12:.2f} TFLOP: MFU {n / mine * 1e3 / RATE:.0%}, torch {n / other * 1e3 / RATE:.0%}"
            print(line, flush=True)
            note(part="work", what=words, rank=rank, against=name, ours=[r[0] for r in rows], theirs=[r[1] for r in rows])
        except Exception as e:  # noqa: BLE001
            print(f"{words} FAILED: {type(e).__name__}: {e}", flush=True)
            ours.close()
            torch.cuda.empty_cache()
            ours = start()
    ours.close()


def compare(folder, rank, works):
    for compiled in [False] if args.quick else [False, True]:
        theirs = Torch(folder, rank, compiled)
        named = [(f"{what} {size}", lambda what=what, size=size: getattr(theirs, what)(size)) for what, size in works]
        name = "torch.compile" if compiled else "torch eager"
        turns(name, lambda: Ours(BENCH, folder, rank), named, f"rank {rank}")
        del theirs, named
        torch.cuda.empty_cache()


def peak(folder, rank, what, size):
    """Memory of one work in a process of its own, blocks computed again."""
    ours = Ours(BENCH, folder, rank, recompute=True)
    for _ in range(2):
        ours.ask(f"{what} {size}")
    print(f"{what}:{size} rank {rank}: {ours.ask('memory 0') / 1e9:.2f} GB at most", flush=True)
    ours.close()


@part("U-Net and VAE against the CPU: relative error (L2)")
def _():
    from safetensors.torch import load_file, save_file

    for folder in [args.micro, folder_of_sd15()]:
        config = json.loads((folder / "unet/config.json").read_text())
        side, channels, width = (config[key] for key in ["sample_size", "in_channels", "cross_attention_dim"])
        latents = torch.randn(1, channels, side, side)
        save_file(dict(sample=latents, timestep=torch.tensor([500.0]), encoder_hidden_states=torch.randn(1, 77, width)), args.out.with_suffix(".in"))
        for name in ["unet", "vae-decode"]:
            found = []
            for how in ["cpu f32", "cuda f32", "cuda bf16"]:
                device, dtype = how.split()
                command = [str(TRAIN), "forward", "--model", str(folder), "--part", name, "--inputs", str(args.out.with_suffix(".in"))]
                command += ["--output", str(args.out.with_suffix(".out")), "--device", device, "--dtype", dtype]
                subprocess.run(command, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
                found.append(load_file(args.out.with_suffix(".out"))["sample"].double())
            errors = [float((x - found[0]).norm() / found[0].norm()) for x in found[1:]]
            print(f"{folder} {name}: f32 {errors[0]:.1e}, bf16 {errors[1]:.1e}", flush=True)
            note(part="parity", folder=str(folder), what=name, f32=errors[0], bf16=errors[1])


@part("SD 1.5, the whole U-Net")
def _():
    compare(folder_of_sd15(), 0, [("forward", 16), ("decode", 4), ("step", 1), ("step", 2), ("step", 4)])


@part("SD 1.5, LoRA of rank 32, blocks recomputed")
def _():
    compare(folder_of_sd15(), 32, [("step", 1), ("step", 4)])


@part("peak memory, 512 px, blocks computed again")
def _():
    for rank in [0, 32]:
        for pairs in [1, 2]:
            peak(folder_of_sd15(), rank, "step", pairs)


@part("micro")
def _():
    compare(args.micro, 0, [("forward", 32), ("step", 4)])


@part("ALIGN's image tower, f32")
def _():
    from transformers import AlignConfig, AlignModel

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    folder = Path(tempfile.gettempdir()) / "rpo-align"
    if not (folder / "config.json").exists():
        AlignModel(AlignConfig()).save_pretrained(folder)
    model = AlignModel.from_pretrained(folder).vision_model.eval().to(GPU, memory_format=torch.channels_last)
    side = model.config.image_size

    def features(n):
        with torch.no_grad():
            model(torch.randn(n, 3, side, side, device=GPU).to(memory_format=torch.channels_last)).pooler_output.cpu()

    works = [(str(n), lambda n=n: features(n)) for n in [8, 32]]
    turns("torch eager", lambda: Ours(ENCODERS, folder, side, device="cuda:f32"), works)


@part("micro ablation from end to end")
def _():
    if args.quick:
        return print("--quick: left out")
    for device in ["cuda", "cpu"]:
        with tempfile.TemporaryDirectory() as out:
            start = time.time()
            command = [str(TRAIN), "experiments/ablation_lambda.toml", "--set", f"output={out}", "--set", f"model.device={device}"]
            done = subprocess.run(command, env={**ENVIRONMENT, "RAYON_NUM_THREADS": "2" if device == "cpu" else str(os.cpu_count())}, capture_output=True, text=True)
            print(f"{device}: {time.time() - start:.0f} s, exit {done.returncode}" + (" (2 cores)" if device == "cpu" else ""))
            print(done.stdout[-1500:] if done.returncode == 0 else done.stderr[-1500:], flush=True)
            note(part="ablation", device=device, seconds=time.time() - start, code=done.returncode)
