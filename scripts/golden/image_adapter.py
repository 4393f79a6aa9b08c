"""Golden values of DisenBooth: its losses and their gradients through a U-Net, cosines, and embeddings of pictures.

    python scripts/golden/image_adapter.py
    # writes crates/rpo-train/tests/golden/image_adapter.safetensors, crates/rpo-encoders/tests/golden/cond_clip.safetensors
    # and prints the lines of crates/rpo-pref/tests/contrastive.rs

The model is the folder `sd` of crates/rpo-diffusion/tests/golden/text_gradients (see text_gradients.py). Latents, noise, texts,
embeddings and trained tensors are wave(). The method as described in the paper (Chen et al. 2023), in f64:

    f = W2 relu(W1 g + b1) + b2 + g,  g = sigmoid(m) * f0
    total = sim e(c + f) + weak e(c) + contrastive mean cos(mean over the tokens of c, f)

image_adapter.safetensors; CASE is plain (the paper's weights) or mixed (others, with masks and weights of the samples):
  CASE.total, CASE.sim, CASE.weak_denoising, CASE.contrastive   f64
  CASE.MODULE.lora_{A,B}.weight                                 gradients of the adapters on the U-Net's attention
  CASE.{mask,fc1.weight,fc1.bias,fc2.weight,fc2.bias}           gradients of the image adapter
cond_clip.safetensors: `image_embeds` [3, 128] of pictures() by transformers' CLIPVisionModelWithProjection on assets/micro/cond_clip.

Made with torch 2.15.0, transformers 5.23.0, diffusers 0.42.1, peft 0.21.2, safetensors 0.8.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from peft import LoraConfig
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "crates/rpo-diffusion/tests/golden/text_gradients/sd"
COND_CLIP = ROOT / "assets/micro/cond_clip"

TIMES = [1, 481, 999, 250]
SHAPE = (4, 4, 8, 6)
TOKENS, WIDTH = 6, 16
TARGETS = ["to_k", "to_out.0", "to_q", "to_v"]
RANK, ALPHA = 2, 3
# Weights of the terms, and whether there are masks and weights of the samples.
CASES = {"plain": (1.0, 0.01, 0.001, False), "mixed": (1.0, 0.5, 0.25, True)}
SAMPLES = [0.5, 1.0, 0.25, 0.75]
ADAPTER = {"mask": (1, WIDTH), "fc1.weight": (WIDTH, WIDTH), "fc1.bias": (WIDTH,), "fc2.weight": (WIDTH, WIDTH), "fc2.bias": (WIDTH,)}


def wave(shape, k):
    """The k-th of the fixed inputs, rounded to f32: sqrt(2) sin(1 + 3 i + 7 k), i the place in row-major order."""
    i = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (2**0.5 * (1 + 3 * i + 7 * k).sin()).float().double().reshape(shape)


def quarter(shape, k):
    return (wave(shape, k).float() * 0.25).double()


def picture_adapter(p, f0):
    g = p["mask"].sigmoid() * f0
    inner = g @ p["fc1.weight"].T + p["fc1.bias"]
    # So that f32 falls on the same side of the kink.
    assert inner.abs().min() > 1e-4, inner.abs().min()
    return inner.relu() @ p["fc2.weight"].T + p["fc2.bias"] + g


def losses(case, dtype):
    """The terms of a case and every gradient."""
    sim, weak, contrastive, mixed = CASES[case]
    unet = UNet2DConditionModel.from_pretrained(MODEL / "unet", torch_dtype=dtype).requires_grad_(False)
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS))
    lora = {k.replace(".default.", "."): p for k, p in unet.named_parameters() if "lora_" in k}
    for k, name in enumerate(sorted(lora)):
        lora[name].data = quarter(lora[name].shape, 20 + k).to(dtype)
    own = {name: quarter(shape, 10 + k).to(dtype).requires_grad_() for k, (name, shape) in enumerate(ADAPTER.items())}
    x0, noise = (wave(SHAPE, k).to(dtype) for k in (0, 1))
    c, f0 = wave((4, TOKENS, WIDTH), 2).to(dtype), wave((4, WIDTH), 3).to(dtype)
    times = torch.tensor(TIMES)
    x_t = DDIMScheduler.from_pretrained(MODEL / "scheduler").add_noise(x0, noise, times)
    area, samples = torch.ones((4, 1) + SHAPE[2:], dtype=dtype), torch.ones(4, dtype=dtype)
    if mixed:
        area = (0.5 + 0.25 * wave((4, 1) + SHAPE[2:], 4).float()).clamp(0, 1).to(dtype)
        samples = torch.tensor(SAMPLES, dtype=dtype)

    def error(text):
        off = (unet(x_t, times, text).sample - noise).square() * area
        return (samples * off.sum((1, 2, 3)) / (SHAPE[1] * area.sum((1, 2, 3)))).mean()

    f = picture_adapter(own, f0)
    terms = {
        "sim": error(c + f[:, None]),
        "weak_denoising": error(c),
        "contrastive": torch.nn.functional.cosine_similarity(c.mean(1), f).mean(),
    }
    total = sim * terms["sim"] + weak * terms["weak_denoising"] + contrastive * terms["contrastive"]
    for name, weight in zip(terms, (sim, weak, contrastive)):
        trained = list(own.values())
        of = torch.autograd.grad(weight * terms[name], trained, retain_graph=True, allow_unused=True)
        norm = sum(float(g.square().sum()) for g in of if g is not None) ** 0.5
        print(f"{case}: {name} {float(terms[name].detach()):.4f}, its gradient in the image adapter {norm:.2e}")
    total.backward()
    values = {f"{case}.{k}": v.detach() for k, v in {"total": total, **terms}.items()}
    return values | {f"{case}.{k}": p.grad for k, p in {**lora, **own}.items()}


def pictures():
    """Three of two sizes."""
    def one(side, k):
        y, x, c = np.ogrid[:side, :side, :3]
        return Image.fromarray(((7 * y + 3 * x + 91 * c + 50 * k + x * y % 31) % 256).astype(np.uint8))

    return [one(64, 0), one(90, 1), one(64, 2)]


def cosines():
    """A cosine and its gradient in the second vector, for the tests of rpo-pref."""
    for a, b in [([0.3, -1.2, 0.5], [0.8, 0.1, -0.4]), ([1.0, 2.0, 2.0], [2.0, 4.0, 4.0]), ([1e3, 0.0, 1e-3, 2.0], [-2e-3, 5.0, 1e-4, -1.0])]:
        a, b = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64, requires_grad=True)
        value = torch.nn.functional.cosine_similarity(a, b, dim=0)
        value.backward()
        print(a.tolist(), b.tolist(), repr(value.item()), b.grad.tolist())


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    tensors = losses("plain", torch.float64) | losses("mixed", torch.float64)
    stored = {k: (v if v.dim() == 0 else v.float()).contiguous().clone() for k, v in tensors.items()}
    save_file(stored, ROOT / "crates/rpo-train/tests/golden/image_adapter.safetensors")
    # How far PyTorch's own f32 is from these, of each tensor's largest value.
    single = losses("plain", torch.float32) | losses("mixed", torch.float32)
    off = {k: float((single[k].double() - v).abs().max() / v.abs().max()) for k, v in tensors.items()}
    for key in sorted(off, key=off.get)[-5:]:
        print(f"{off[key]:.1e} {key}")
    print(len(tensors), "tensors")
    encoder = CLIPVisionModelWithProjection.from_pretrained(COND_CLIP, torch_dtype=torch.float64).eval()
    pixels = CLIPImageProcessor.from_pretrained(COND_CLIP)(pictures(), return_tensors="pt").pixel_values
    with torch.no_grad():
        embeds = encoder(pixels.double()).image_embeds
    save_file({"image_embeds": embeds.float()}, ROOT / "crates/rpo-encoders/tests/golden/cond_clip.safetensors")
    cosines()


if __name__ == "__main__":
    main()
