"""Golden values for rpo-diffusion, computed by PyTorch and diffusers in f32.

Made with torch 2.15.0, diffusers 0.42.1, transformers 5.23.0, numpy 2.4.6, safetensors 0.8.
Run from the repository root: `python scripts/golden/diffusion.py`.

Writes to crates/rpo-diffusion/tests/golden:
  micro.safetensors          U-Net, VAE, schedule, text and whole sampling runs of assets/micro
  tiny_{conv,linear,xl}.*    three random U-Nets: configuration, f16 weights, outputs, every gradient
  vae_{attention,plain}.*    two random VAEs: configuration, f16 weights, outputs
Tensors are in PyTorch's layout (NCHW, OIHW); the Rust tests permute.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from transformers import AutoTokenizer, CLIPTextModel

MICRO = Path("assets/micro")
OUT = Path("crates/rpo-diffusion/tests/golden")
PROMPTS = ["a dog in the snow", "a red car in a city"]
GUIDANCE = 5.0


def save(name, tensors):
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, OUT / f"{name}.safetensors")


def randomise(model, generator):
    """Default initialisation, but no bias is zero, no norm weight one; values are exact in f16."""
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if p.ndim > 1:
            p.data = noise * 0.8 / p[0].numel() ** 0.5
        else:
            p.data = noise * 0.1 + (1.0 if name.endswith("weight") else 0.0)
        p.data = p.data.half().float()
    return model


def signs(n, k):
    """The k-th of four ±1 vectors of length n: bit 63 of splitmix64(4 i + k)."""
    with np.errstate(over="ignore"):
        z = (np.arange(n, dtype=np.uint64) * np.uint64(4) + np.uint64(k + 1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return np.where(z >> np.uint64(63) == 0, 1.0, -1.0)


def training_step(unet, x0, noise, t, hidden, scheduler, added=None):
    """One step of L = mean ||e_theta(x_t, t, c) - target||^2; fills .grad."""
    target = scheduler.get_velocity(x0, noise, t) if scheduler.config.prediction_type == "v_prediction" else noise
    x_t = scheduler.add_noise(x0, noise, t)
    out = unet(x_t, t, hidden, added_cond_kwargs=added).sample
    loss = torch.nn.functional.mse_loss(out, target)
    unet.zero_grad()
    loss.backward()
    return {"x_t": x_t, "target": target, "out": out, "loss": loss}


def tiny_unet(name, seed, size, scheduler, **config):
    g = torch.Generator().manual_seed(seed)
    unet = randomise(UNet2DConditionModel(sample_size=8, **config), g).eval()
    (OUT / f"{name}.json").write_text(unet.to_json_string())
    x0, noise = (torch.randn(3, 4, *size, generator=g) for _ in range(2))
    hidden = torch.randn(3, 5, config["cross_attention_dim"], generator=g)
    t = torch.tensor([1, 481, 999])
    added = None
    if config.get("addition_embed_type"):
        pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        sizes = torch.tensor([[72, 56, 0, 0, 72, 56], [1024, 768, 16, 0, 512, 512], [9, 7, 1, 2, 72, 56]])
        added = {"text_embeds": torch.randn(3, pooled, generator=g), "time_ids": sizes.float()}
    step = training_step(unet, x0, noise, t, hidden, scheduler, added) | (added or {})
    tensors = {f"weight.{k}": v.half() for k, v in unet.state_dict().items()}
    tensors |= {f"grad.{k}": p.grad for k, p in unet.named_parameters()}
    tensors |= {"x0": x0, "noise": noise, "hidden": hidden, "t": t.to(torch.int64)} | step
    save(name, tensors)


def tiny_vae(name, seed, size, **config):
    g = torch.Generator().manual_seed(seed)
    vae = randomise(AutoencoderKL(**config), g).eval()
    (OUT / f"{name}.json").write_text(vae.to_json_string())
    x = torch.rand(2, 3, *size, generator=g) * 2 - 1
    post = vae.encode(x).latent_dist
    noise = torch.randn(post.mean.shape, generator=g)
    z = post.mean + post.std * noise
    tensors = {f"weight.{k}": v.half() for k, v in vae.state_dict().items()}
    tensors |= {"x": x, "mean": post.mean, "logvar": post.logvar, "noise": noise, "z": z, "decoded": vae.decode(z).sample}
    save(name, tensors)


def denoise(unet, scheduler, steps, latents, cond, uncond, guidance):
    scheduler.set_timesteps(steps)
    x = latents
    for t in scheduler.timesteps:
        if guidance == 1.0:
            e = unet(x, t, cond).sample
        else:
            e = unet(torch.cat([x, x]), t, torch.cat([uncond.expand_as(cond), cond])).sample
            e_uncond, e_cond = e.chunk(2)
            e = e_uncond + guidance * (e_cond - e_uncond)
        x = scheduler.step(e, t, x).prev_sample
    return x


def to_u8(picture):
    """What diffusers' VaeImageProcessor does."""
    return ((picture / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255).round().astype("uint8")


def micro():
    g = torch.Generator().manual_seed(7)
    unet = UNet2DConditionModel.from_pretrained(MICRO / "unet", torch_dtype=torch.float32).eval()
    vae = AutoencoderKL.from_pretrained(MICRO / "vae", torch_dtype=torch.float32).eval()
    text = CLIPTextModel.from_pretrained(MICRO / "text_encoder", torch_dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(MICRO / "tokenizer")
    ddim = DDIMScheduler.from_pretrained(MICRO / "scheduler")
    dpm = DPMSolverMultistepScheduler.from_config(ddim.config)

    def encode(prompts):
        ids = tokenizer(prompts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True)
        return text(torch.tensor(ids["input_ids"])).last_hidden_state

    with torch.no_grad():
        cond, uncond = encode(PROMPTS), encode([""])
        tensors = {"cond": cond, "uncond": uncond, "alphas_cumprod": ddim.alphas_cumprod}
        for name, size in [("square", (16, 16)), ("odd", (9, 7)), ("odd2", (13, 11))]:
            x = torch.randn(3, 4, *size, generator=g)
            t = torch.tensor([1, 500, 999])
            hidden = torch.cat([cond, uncond])
            tensors |= {f"forward.{name}.x": x, f"forward.{name}.out": unet(x, t, hidden).sample}

        x = torch.rand(2, 3, 64, 64, generator=g) * 0.4 - 0.2
        yy, xx = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
        x = (x + torch.stack([xx, yy, xx * yy])).clamp(-1, 1).half().float()
        post = vae.encode(x).latent_dist
        tensors |= {"vae.x": x.half(), "vae.mean": post.mean, "vae.logvar": post.logvar, "vae.decoded": vae.decode(post.mean).sample}

        latents = torch.randn(2, 4, 16, 16, generator=g)
        tensors["sample.latents"] = latents
        for name, scheduler, steps, guidance in [
            ("ddim20", ddim, 20, GUIDANCE),
            ("dpmpp15", dpm, 15, GUIDANCE),
            ("dpmpp8", dpm, 8, 1.0),
        ]:
            tensors[f"sample.{name}"] = denoise(unet, scheduler, steps, latents, cond, uncond, guidance)
            tensors[f"sample.{name}.t"] = scheduler.timesteps
        decoded = vae.decode(tensors["sample.ddim20"] / vae.config.scaling_factor).sample
        tensors["sample.ddim20.u8"] = torch.from_numpy(to_u8(decoded))

    x0, noise = (torch.randn(4, 4, 16, 16, generator=g) for _ in range(2))
    t = torch.tensor([20, 300, 650, 980])
    hidden = torch.cat([cond, cond]).detach()
    step = training_step(unet, x0, noise, t, hidden, ddim)
    tensors |= {"train.x0": x0, "train.noise": noise, "train.t": t, "train.x_t": step["x_t"], "train.loss": step["loss"]}
    for k, p in unet.named_parameters():
        grad = p.grad.double().numpy().ravel()
        values = [np.linalg.norm(grad)] + [grad @ signs(grad.size, i) for i in range(4)]
        tensors[f"train.grad.{k}"] = torch.tensor(values, dtype=torch.float64)
    save("micro", tensors)


def main():
    torch.manual_seed(0)
    OUT.mkdir(parents=True, exist_ok=True)
    sd = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    tiny_unet(
        "tiny_conv", 1, (9, 7), DDPMScheduler(**sd),
        block_out_channels=(8, 12), norm_num_groups=4, layers_per_block=1, cross_attention_dim=12, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    tiny_unet(
        "tiny_linear", 8, (13, 11), DDPMScheduler(**sd, prediction_type="v_prediction"),
        block_out_channels=(4, 8, 8), norm_num_groups=2, layers_per_block=2, cross_attention_dim=10, attention_head_dim=(1, 2, 4),
        use_linear_projection=True, transformer_layers_per_block=(1, 2, 1), norm_eps=1e-4, flip_sin_to_cos=False, freq_shift=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )
    tiny_unet(
        "tiny_xl", 5, (9, 7), DDPMScheduler(**sd),
        block_out_channels=(4, 8, 8), norm_num_groups=2, layers_per_block=1, cross_attention_dim=10, attention_head_dim=(1, 2, 4),
        use_linear_projection=True, transformer_layers_per_block=(1, 2, 3), addition_embed_type="text_time",
        addition_time_embed_dim=6, projection_class_embeddings_input_dim=43,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )
    down, up = ("DownEncoderBlock2D",), ("UpDecoderBlock2D",)
    tiny_vae("vae_attention", 3, (18, 14), block_out_channels=(4, 8), norm_num_groups=4, layers_per_block=2, down_block_types=down * 2, up_block_types=up * 2)
    tiny_vae(
        "vae_plain", 4, (13, 11), block_out_channels=(4, 4, 8), norm_num_groups=2, layers_per_block=1, latent_channels=3,
        down_block_types=down * 3, up_block_types=up * 3, mid_block_add_attention=False, use_quant_conv=False, use_post_quant_conv=False,
    )
    micro()


if __name__ == "__main__":
    main()
