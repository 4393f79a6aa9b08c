"""Trains the VAE of the embedded model on crops of StickerBench pictures, 60 % of them with looks.

    TWEMOJI=<crate twemoji-assets>/assets/72x72 python make_vae.py --start assets/micro/vae --out vae --minutes 85

L1 + 2 MSE + half the differences of neighbouring pixels + 2e-6 KL, AdamW 2e-3 with a cosine, averaged weights. 32-pixel
crops give four times the steps for the same work; half of them are mirrored. `scaling_factor` is measured on whole
pictures. `rpo-pretrain vae` judges the result.

Needs torch, diffusers, pillow, numpy (torch 2.15, diffusers 0.42 were used).
"""

import argparse
import math
import random
import time

import numpy as np
import torch
from diffusers import AutoencoderKL

CROP, BATCH, HELD_OUT = 32, 16, 256
RATE, EMA = 2e-3, 0.999


def arguments():
    ap = argparse.ArgumentParser()
    ap.add_argument("--start", help="VAE folder to continue from; default: random weights")
    ap.add_argument("--out", required=True)
    ap.add_argument("--minutes", type=float, default=85)
    ap.add_argument("--pictures", type=int, default=20_000)
    ap.add_argument("--channels", default="16,32,64")
    ap.add_argument("--threads", type=int, default=1)
    return ap.parse_args()


def draw(n):
    from world import sample

    R = random.Random(1234)
    return np.stack([np.asarray(sample(R, 0.6)[0]) for _ in range(n)])


def fresh(channels):
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
    )


def pixels(a):
    x = torch.from_numpy(np.ascontiguousarray(a)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return x.contiguous(memory_format=torch.channels_last)


def crops(R, X):
    some = []
    for j in R.randint(0, len(X), BATCH):
        r, c = 4 * R.randint(0, 9), 4 * R.randint(0, 9)
        crop = X[j, r : r + CROP, c : c + CROP]
        some.append(crop[:, ::-1] if R.rand() < 0.5 else crop)
    return pixels(np.stack(some))


def differences(d):
    return (d[..., 1:] - d[..., :-1]).abs().mean() + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()


def keep(vae, X, out):
    with torch.no_grad():
        x = pixels(X)
        mean = vae.encode(x).latent_dist.mean
        y = vae.decode(mean).sample.clamp(-1, 1)
    decibels = (10 * torch.log10(4 / (y - x).pow(2).mean((1, 2, 3)))).mean().item()
    print(f"held out {decibels:.2f} dB", flush=True)
    vae.register_to_config(scaling_factor=1 / mean.std().item())
    vae.save_pretrained(out)


def main():
    A = arguments()
    torch.set_num_threads(A.threads)
    torch.manual_seed(0)
    X = draw(A.pictures)
    held_out, X = X[:HELD_OUT], X[HELD_OUT:]
    channels = tuple(int(c) for c in A.channels.split(","))
    vae = AutoencoderKL.from_pretrained(A.start).float() if A.start else fresh(channels)
    vae = vae.to(memory_format=torch.channels_last)
    weights = list(vae.parameters())
    averages = [w.detach().clone() for w in weights]
    optimizer = torch.optim.AdamW(weights, RATE, betas=(0.9, 0.98), weight_decay=0)
    R = np.random.RandomState(7)
    started, step = time.time(), 0
    while (f := (time.time() - started) / (60 * A.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 200) * max(0.01, 0.5 * (1 + math.cos(math.pi * f)))
        x = crops(R, X)
        q = vae.encode(x).latent_dist
        d = vae.decode(q.mean + q.std * torch.randn_like(q.mean)).sample - x
        kl = q.kl().mean() / q.mean[0].numel()
        loss = d.abs().mean() + 2 * d.pow(2).mean() + 0.5 * differences(d) + 2e-6 * kl
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 0.5)
        optimizer.step()
        step += 1
        with torch.no_grad():
            decay = min(EMA, (1 + step) / (10 + step))
            torch._foreach_lerp_(averages, [w.detach() for w in weights], 1 - decay)
        if step % 500 == 0:
            print(f"{step} {f:.2f} loss {loss.item():.4f}", flush=True)
    with torch.no_grad():
        torch._foreach_copy_(weights, averages)
    keep(vae, held_out, A.out)


if __name__ == "__main__":
    main()
