"""Times the pretraining of the embedded U-Net against the same loop in PyTorch, in turns.

    python scripts/bench/pretrain.py target/release/rpo-pretrain --model assets/micro --rounds 3 --steps 60

Both: the U-Net of `--model`, batch 16, f32, AdamW, gradients clipped to norm 1, averaged weights, as many threads as
`--threads`. PyTorch works on random latents and texts of the right shapes (its time does not depend on them) and draws
no pictures; ours counts rendering, encoding and texts too, and the part that they take is printed beside it. Best run
with nothing else on the machine; the ratio is of medians.

Needs torch and diffusers (torch 2.15, diffusers 0.42 were used).
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

BATCH = 16


def torch_samples_per_second(model: Path, steps: int) -> float:
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_pretrained(model / "unet").float().train()
    parameters = list(unet.parameters())
    averages = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, 1e-3, betas=(0.9, 0.99), weight_decay=0.01)
    side, channels = unet.config.sample_size, unet.config.in_channels
    tokens = json.loads((model / "text_encoder" / "config.json").read_text())["max_position_embeddings"]
    latents = torch.randn(BATCH, channels, side, side)
    texts = torch.randn(BATCH, tokens, unet.config.cross_attention_dim)
    warm_up = 5
    for step in range(steps + warm_up):
        if step == warm_up:
            started = time.perf_counter()
        noise = torch.randn_like(latents)
        t = torch.randint(0, 1000, (BATCH,))
        a = torch.rand(BATCH, 1, 1, 1)
        output = unet(a.sqrt() * latents + (1 - a).sqrt() * noise, t, texts).sample
        loss = torch.nn.functional.mse_loss(output, noise)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, [p.detach() for p in parameters], 0.0005)
    return steps * BATCH / (time.perf_counter() - started)


def our_samples_per_second(program: Path, model: Path, steps: int, threads: int) -> tuple[float, float]:
    """Samples a second after the first lines of progress, and the part of the time that data took."""
    with tempfile.TemporaryDirectory() as state:
        command = [program, "unet", "--model", model, "--state", state, "--threads", threads, "--until", 2 * steps,
                   "--window", "64", "--report-every", "0.05", "--sheet-every", "0"]  # fmt: skip
        said = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout
        (save,) = Path(state).glob("step-*")
        curve = json.loads((save / "record.json").read_text())["curve"]
    # The first window is waited for; later ones, of eight steps each, are drawn while the network trains.
    first = next(p for p in curve if p["step"] >= steps // 4)
    if first is curve[-1]:
        raise SystemExit("too fast for a second line of progress: give more --steps")
    seconds = curve[-1]["seconds"] - first["seconds"]
    shares = [int(line.split("(data ")[1].split(" %")[0]) for line in said.splitlines() if "(data " in line]
    return (curve[-1]["samples"] - first["samples"]) / seconds, statistics.mean(shares[len(shares) // 4 :]) / 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("--model", type=Path, default=Path("assets/micro"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    theirs, ours, data = [], [], []
    for k in range(arguments.rounds):
        theirs.append(torch_samples_per_second(arguments.model, arguments.steps))
        speed, share = our_samples_per_second(arguments.program, arguments.model, arguments.steps, arguments.threads)
        ours.append(speed)
        data.append(share)
        print(f"round {k + 1}: PyTorch {theirs[-1]:.1f}, ours {speed:.1f} samples a second (data {share:.0%})", flush=True)
    ratio = statistics.median(theirs) / statistics.median(ours)
    print(f"ours takes {ratio:.2f} of PyTorch's time; data {statistics.median(data):.0%} of ours")


if __name__ == "__main__":
    main()
