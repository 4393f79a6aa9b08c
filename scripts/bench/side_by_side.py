"""The same work here and in PyTorch + diffusers, in turns, on the same machine: medians and their ratio.

    cargo build --release -p rpo-bench
    python scripts/bench/side_by_side.py target/release/rpo-bench --threads 2 --rounds 9
    python scripts/bench/side_by_side.py target/release/rpo-bench --model SD15 --lora 32 --work forward:2,step:1 --rounds 3

With --lora the step trains a LoRA of that rank on the attention projections, peft's on the other side, blocks recomputed on both.

Needs torch, diffusers, transformers (measured with 2.15, 0.42, 5.23). f32 on both sides, eager PyTorch, by default the weights of assets/micro.
"""

import argparse
import json
import os
import statistics
import subprocess
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("binary")
parser.add_argument("--model", default="assets/micro")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rounds", type=int, default=9)
parser.add_argument("--warm-up", type=int, default=2)
parser.add_argument("--lora", type=int, help="rank of the LoRA that the step trains; without it the step trains the whole U-Net")
parser.add_argument("--work", default="forward:8,forward:32,forward:64,step:1,step:4,sample:16,score:32")
args = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(args.threads)

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel  # noqa: E402
from transformers import AlignModel  # noqa: E402

torch.set_num_threads(args.threads)
f32 = dict(torch_dtype=torch.float32)
frozen = UNet2DConditionModel.from_pretrained(args.model, subfolder="unet", **f32).eval().requires_grad_(False)
if args.lora:
    from peft import LoraConfig

    trained = frozen
    trained.add_adapter(LoraConfig(r=args.lora, lora_alpha=args.lora, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    trained.enable_gradient_checkpointing()
else:
    trained = UNet2DConditionModel.from_pretrained(args.model, subfolder="unet", **f32).train()
parameters = [p for p in trained.parameters() if p.requires_grad]
vae = AutoencoderKL.from_pretrained(args.model, subfolder="vae", **f32).eval()
optimizer = torch.optim.AdamW(parameters, 1e-5)
side, channels = frozen.config.sample_size, frozen.config.in_channels
width = frozen.config.cross_attention_dim
with open(os.path.join(args.model, "tokenizer", "tokenizer_config.json")) as file:
    text_length = json.load(file)["model_max_length"]
reward_folder = os.path.join(args.model, "reward")
reward = AlignModel.from_pretrained(reward_folder, dtype=torch.float32).eval() if os.path.isdir(reward_folder) else None


def inputs(batch):
    shape = (batch, channels, side, side)
    t = torch.arange(batch) * 997 % 1000
    return torch.randn(shape), torch.randn(shape), t, torch.randn(batch, text_length, width)


@torch.no_grad()
def forward(batch):
    x, _, t, text = inputs(batch)
    if args.lora:
        frozen.disable_adapters()
    frozen(x, t, text)


def step(pairs):
    """Recipe `official`: a trained and a frozen pass over two pictures a pair, L_sim + L_pref, clip, AdamW."""
    x, e, t, text = inputs(2 * pairs)
    if args.lora:
        frozen.disable_adapters()
    with torch.no_grad():
        base = (frozen(x, t, text).sample - e).square().mean((1, 2, 3))
    if args.lora:
        # Checkpointing is for training mode; the network has no dropout.
        trained.enable_adapters()
        trained.train()
    theta = (trained(x, t, text).sample - e).square().mean((1, 2, 3))
    ell = (base[:pairs] - theta[:pairs]) - (base[pairs:] - theta[pairs:])
    loss = theta[:pairs].mean() - F.logsigmoid(ell).mean()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    if args.lora:
        trained.eval()


@torch.no_grad()
def sample(pictures):
    x, _, _, text = inputs(pictures)
    both = torch.cat([torch.randn(1, text_length, width).repeat(pictures, 1, 1), text])
    scheduler = DPMSolverMultistepScheduler.from_pretrained(args.model, subfolder="scheduler")
    scheduler.set_timesteps(15)
    for t in scheduler.timesteps:
        uncond, cond = frozen(torch.cat([x, x]), t, both).sample.chunk(2)
        x = scheduler.step(uncond + 3.0 * (cond - uncond), t, x).prev_sample
    vae.decode(x / vae.config.scaling_factor)


@torch.no_grad()
def score(pictures):
    reward.vision_model(pixel_values=torch.randn(5, 3, 64, 64))
    reward.vision_model(pixel_values=torch.randn(pictures, 3, 64, 64))


ours = subprocess.Popen(
    [args.binary, args.model] + [str(args.lora)] * bool(args.lora),
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
    env={**os.environ, "RAYON_NUM_THREADS": str(args.threads)},
)


def time_ours(what, size):
    ours.stdin.write(f"{what} {size}\n")
    ours.stdin.flush()
    return float(ours.stdout.readline())


def time_torch(what, size):
    start = time.perf_counter()
    globals()[what](size)
    return (time.perf_counter() - start) * 1e3


print(f"torch {torch.__version__}, {args.threads} threads, {args.rounds} rounds in turns, ms: median (min-max)")
for work in args.work.split(","):
    what, size = work.split(":")[0], int(work.split(":")[1])
    mine, theirs = [], []
    for round_ in range(args.rounds + args.warm_up):
        a, b = time_ours(what, size), time_torch(what, size)
        if round_ >= args.warm_up:
            mine.append(a)
            theirs.append(b)
    m, t = statistics.median(mine), statistics.median(theirs)
    spread = lambda v: f"{statistics.median(v):8.1f} ({min(v):.1f}-{max(v):.1f})"
    print(f"{what:8} {size:3}  ours {spread(mine):28} torch {spread(theirs):28} ratio {m / t:.2f}", flush=True)
ours.stdin.close()
