"""The same work here and in PyTorch + diffusers, asked for in turns: what `side_by_side.py` and `official_way.py` share.

f32 on both sides, eager PyTorch. What goes in (noise, text states) is made at the first call and kept on both sides.
"""

import functools
import json
import os
import platform
import statistics
import subprocess
import time
from pathlib import Path


def arguments(parser):
    """The arguments that every script takes."""
    parser.add_argument("binary", help="rpo-bench")
    parser.add_argument("--model", default="assets/micro", help="a diffusers folder")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--lora", type=int, help="rank of the LoRA that the step trains; without it the step trains the whole U-Net")
    parser.add_argument("--json", type=Path, help="append what was measured to this file, a line each")


def cpu_model():
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def vectors():
    """The widest vectors of the processor."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return next((name for flag, name in [("avx512f", "AVX-512"), ("avx2", "AVX2")] if f" {flag} " in text), platform.machine())


def headline(about, rounds):
    """What the figures were measured on, and whether they can be believed."""
    print(f"torch {about['torch_version']}, {about['threads']} threads, {about['cpu']} ({about['vectors']}), {rounds} rounds in turns")
    if about["load"] > 0.5:
        print(f"load average {about['load']:.1f} before the start: other programs run. PyTorch's threads wait by spinning and lose")
        print("far more by that than ours: the ratios are too good. Measure again on a quiet machine.")


class Torch:
    """PyTorch's side. A method a kind of work, as `rpo-bench` has them."""

    def __init__(self, args):
        # Before torch starts its threads.
        os.environ["OMP_NUM_THREADS"] = str(args.threads)
        import torch
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import AlignModel, CLIPTextModel
        from transformers.utils import logging

        logging.disable_progress_bar()

        self.torch, self.model, self.lora = torch, args.model, args.lora
        torch.set_num_threads(args.threads)
        f32 = dict(torch_dtype=torch.float32)
        unet = lambda: UNet2DConditionModel.from_pretrained(args.model, subfolder="unet", **f32)
        self.frozen = unet().eval().requires_grad_(False)
        if args.lora:
            from peft import LoraConfig

            self.trained = self.frozen
            targets = ["to_q", "to_k", "to_v", "to_out.0"]
            self.trained.add_adapter(LoraConfig(r=args.lora, lora_alpha=args.lora, target_modules=targets))
            self.trained.enable_gradient_checkpointing()
        else:
            self.trained = unet().train()
        self.parameters = [p for p in self.trained.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, 1e-5)
        self.vae = AutoencoderKL.from_pretrained(args.model, subfolder="vae", **f32).eval()
        self.text_encoder = CLIPTextModel.from_pretrained(args.model, subfolder="text_encoder", dtype=torch.float32).eval()
        folder = os.path.join(args.model, "reward")
        self.reward = AlignModel.from_pretrained(folder, dtype=torch.float32).eval() if os.path.isdir(folder) else None
        self.side, self.channels = self.frozen.config.sample_size, self.frozen.config.in_channels
        self.width = self.frozen.config.cross_attention_dim
        with open(os.path.join(args.model, "tokenizer", "tokenizer_config.json")) as file:
            self.length = json.load(file)["model_max_length"]

    @functools.cache
    def inputs(self, batch):
        torch = self.torch
        shape = (batch, self.channels, self.side, self.side)
        t = torch.arange(batch) * 997 % 1000
        return torch.randn(shape), torch.randn(shape), t, torch.randn(batch, self.length, self.width)

    def forward(self, batch):
        x, _, t, text = self.inputs(batch)
        if self.lora:
            self.frozen.disable_adapters()
        with self.torch.no_grad():
            self.frozen(x, t, text)

    def step(self, pairs):
        """Recipe `official`: a trained and a frozen pass over two pictures a pair, L_sim + L_pref, clip, AdamW."""
        torch = self.torch
        x, e, t, text = self.inputs(2 * pairs)
        if self.lora:
            self.frozen.disable_adapters()
        with torch.no_grad():
            base = (self.frozen(x, t, text).sample - e).square().mean((1, 2, 3))
        if self.lora:
            # Checkpointing is for training mode; the network has no dropout.
            self.trained.enable_adapters()
            self.trained.train()
        theta = (self.trained(x, t, text).sample - e).square().mean((1, 2, 3))
        ell = (base[:pairs] - theta[:pairs]) - (base[pairs:] - theta[pairs:])
        loss = theta[:pairs].mean() - torch.nn.functional.logsigmoid(ell).mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        if self.lora:
            self.trained.eval()

    def sample(self, pictures, solver="dpmpp_2m", steps="15"):
        from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

        torch = self.torch
        x, _, _, text = self.inputs(pictures)
        both = torch.cat([torch.zeros(pictures, self.length, self.width), text])
        kind = {"dpmpp_2m": DPMSolverMultistepScheduler, "ddim": DDIMScheduler}[solver]
        scheduler = kind.from_pretrained(self.model, subfolder="scheduler", clip_sample=False)
        scheduler.set_timesteps(int(steps))
        with torch.no_grad():
            for t in scheduler.timesteps:
                uncond, cond = self.frozen(torch.cat([x, x]), t, both).sample.chunk(2)
                x = scheduler.step(uncond + 3.0 * (cond - uncond), t, x).prev_sample
        return self.pictures(x)

    def decode(self, pictures):
        self.pictures(self.inputs(pictures)[0])

    def pictures(self, latents):
        """Bytes of the pictures, decoded as many at once as the runner does."""
        side = self.side * 2 ** (len(self.vae.config.block_out_channels) - 1)
        chunks = latents.split(max(1, 512 * 512 // side**2))
        with self.torch.no_grad():
            for z in chunks:
                x = self.vae.decode(z / self.vae.config.scaling_factor).sample
                ((x / 2 + 0.5).clamp(0, 1) * 255).round().to(self.torch.uint8)

    def text(self, prompts):
        ids = self.torch.randint(1, 400, (prompts, self.length))
        with self.torch.no_grad():
            self.text_encoder(ids)

    def score(self, pictures):
        with self.torch.no_grad():
            self.reward.vision_model(pixel_values=self.torch.randn(pictures, 3, 64, 64))


class Ours:
    """rpo-bench, a child process."""

    def __init__(self, args):
        self.child = subprocess.Popen(
            [args.binary, args.model] + [str(args.lora)] * bool(args.lora),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "RAYON_NUM_THREADS": str(args.threads)},
        )

    def ask(self, words):
        """Milliseconds of wall time, as the child measures it."""
        self.child.stdin.write(" ".join(words) + "\n")
        self.child.stdin.flush()
        return float(self.child.stdout.readline())

    def processor(self):
        """Seconds of processor time of all its threads; Linux alone can tell."""
        # The clock of another process: clock_getcpuclockid(3).
        return time.clock_gettime((~self.child.pid << 3) | 2) if platform.system() == "Linux" else float("nan")

    def close(self):
        self.child.stdin.close()
        self.child.wait()


class Turns:
    """Both sides in one run. Work is written `step:1` or `sample:16:ddim:50`."""

    def __init__(self, args):
        self.args = args
        load = os.getloadavg()[0]
        self.torch, self.ours = Torch(args), Ours(args)
        self.about = {
            "cpu": cpu_model(),
            "vectors": vectors(),
            "threads": args.threads,
            "load": load,
            "torch_version": self.torch.torch.__version__,
            "model": args.model,
            "lora": args.lora,
        }

    def time_ours(self, words):
        before = self.ours.processor()
        wall = self.ours.ask(words)
        return wall, (self.ours.processor() - before) * 1e3

    def time_torch(self, words):
        before, start = time.process_time(), time.perf_counter()
        getattr(self.torch, words[0])(int(words[1]), *words[2:])
        return (time.perf_counter() - start) * 1e3, (time.process_time() - before) * 1e3

    def measure(self, work, ours=True, torch=True):
        """`{"work", "ours": {"wall": [...], "processor": [...]}, "torch": ...}` in milliseconds; also appended to --json."""
        words = work.split(":")
        sides = [("ours", self.time_ours)] * ours + [("torch", self.time_torch)] * torch
        row = {"work": work, **{side: {"wall": [], "processor": []} for side, _ in sides}}
        for round_ in range(self.args.rounds + self.args.warm_up):
            for side, time_side in sides:
                # Threads of the other side may still be spinning.
                time.sleep(0.01)
                wall, processor = time_side(words)
                if round_ >= self.args.warm_up:
                    row[side]["wall"].append(wall)
                    row[side]["processor"].append(processor)
        if self.args.json:
            with open(self.args.json, "a") as file:
                file.write(json.dumps({**self.about, **row}) + "\n")
        return row

    def close(self):
        self.ours.close()


def spread(values):
    """`median [quartile quartile] (min-max)`"""
    low, _, high = statistics.quantiles(values, method="inclusive") if len(values) > 1 else values * 3
    return f"{statistics.median(values):.1f} [{low:.1f} {high:.1f}] ({min(values):.1f}-{max(values):.1f})"


def ratio(row, clock):
    """Ours over PyTorch's, of medians."""
    return statistics.median(row["ours"][clock]) / statistics.median(row["torch"][clock])
