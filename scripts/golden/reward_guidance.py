"""Golden trajectories of DCO's reward guidance, by diffusers' U-Net and schedulers in f64.

    python scripts/golden/reward_guidance.py       # writes crates/rpo-diffusion/tests/golden/reward_guidance.safetensors

The base is the random U-Net of the folder `sd` of text_gradients.py, the trained network the same with every key and value projection of
the text multiplied by 1.5, latents, texts and the noise of stochastic solvers are wave(). Every step follows
    e_b(0) + w [e_b(c) - e_b(0)] + w_r [e_theta(c_V) - e_b(c)],
written from the formula of the paper (Lee et al. 2024), three evaluations a step.
  latents [N, C, H, W]; own, plain, uncond: the texts of c_V, c and 0, [N, S, D], the last [1, S, D]
  NAME: where the run ends

Made with torch 2.15.0, diffusers 0.42.1, safetensors 0.8.
"""

import copy

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from schedulers import injected
from text_gradients import MICRO, OUT, wave

FILE = OUT.parent / "reward_guidance.safetensors"
N, TOKENS, STEPS = 3, 6, 8
# Name: scheduler, w, w_r.
RUNS = {
    "ddim": (DDIMScheduler, 7.5, 3.0),
    "dpmpp_2m": (DPMSolverMultistepScheduler, 3.0, 3.0),
    "euler_ancestral": (EulerAncestralDiscreteScheduler, 3.0, 5.0),
    "ddim, no guidance": (DDIMScheduler, 1.0, 2.0),
}


def networks(dtype):
    base = UNet2DConditionModel.from_pretrained(OUT / "sd" / "unet", torch_dtype=dtype).eval()
    trained = copy.deepcopy(base)
    for name, p in trained.named_parameters():
        if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight")):
            p.data *= 1.5
    return base, trained


@torch.no_grad()
def run(kind, w, w_r, inputs, dtype):
    base, trained = networks(dtype)
    scheduler = kind.from_pretrained(MICRO / "scheduler", **({"clip_sample": False} if kind is DDIMScheduler else {}))
    scheduler.set_timesteps(STEPS)
    latents, own, plain, uncond = (inputs[k].to(dtype) for k in ("latents", "own", "plain", "uncond"))
    uncond = uncond.expand(N, -1, -1)
    x = latents * scheduler.init_noise_sigma
    for k, t in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(x, t).to(dtype)
        empty, of_class, subject = (
            unet(scaled, t, text).sample for unet, text in ((base, uncond), (base, plain), (trained, own))
        )
        e = empty + w * (of_class - empty) + w_r * (subject - of_class)
        with injected(scheduler, k):
            x = scheduler.step(e, t, x).prev_sample
    return x


def main():
    torch.set_num_threads(1)
    inputs = {
        "latents": wave((N, 4, 8, 8), 0),
        "own": wave((N, TOKENS, 16), 1),
        "plain": wave((N, TOKENS, 16), 2),
        "uncond": wave((1, TOKENS, 16), 3),
    }
    stored = {k: v.float() for k, v in inputs.items()}
    for name, (kind, w, w_r) in RUNS.items():
        end = run(kind, w, w_r, inputs, torch.float64)
        single = run(kind, w, w_r, inputs, torch.float32)
        stored[name] = end.float()
        print(f"{name}: PyTorch's own f32 ends {float((single.double() - end).norm() / end.norm()):.1e} from it, {end.std():.2f}")
    save_file({k: v.contiguous().clone() for k, v in stored.items()}, FILE)


if __name__ == "__main__":
    main()
