"""Golden trajectories of the solvers of rpo-diffusion, computed by diffusers in f32.

Made with torch 2.15.0, diffusers 0.42.1, numpy 2.4.6, safetensors 0.8.
Run from the repository root: `python scripts/golden/schedulers.py`.

Writes to crates/rpo-diffusion/tests/golden:
  schedulers.json               scheduler_config.json files; alphas_cumprod of some of their timesteps; for every solver
                                and number of steps the timesteps, the first value of every network input, and the end of
                                a whole run of a made-up model
  schedulers_others.json        the same for files that other scheduler classes wrote, by named solvers
  schedulers_micro.safetensors  whole runs of the U-Net of assets/micro (its text states are those of micro.safetensors)

Noise that stochastic solvers add is `noise()` below; the Rust tests know the same formula.
"""

import contextlib
import json
import logging
import warnings
from importlib import import_module
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

MICRO = Path("assets/micro")
OUT = Path("crates/rpo-diffusion/tests/golden")
GUIDANCE = 5.0

# Solver names of the experiment file: class, what is said over the model's file, eta.
SOLVERS = {
    "ddpm": ("DDPMScheduler", {}, 0.0),
    "ddim": ("DDIMScheduler", {}, 0.0),
    "ddim eta 0.7": ("DDIMScheduler", {}, 0.7),
    "pndm": ("PNDMScheduler", {}, 0.0),
    "euler": ("EulerDiscreteScheduler", {}, 0.0),
    "euler_karras": ("EulerDiscreteScheduler", {"use_karras_sigmas": True}, 0.0),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}, 0.0),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}, 0.0),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, 0.0),
}
ALL = ["scheduler", *SOLVERS]
# `sample` is unknown to these two.
NO_SAMPLE = ["pndm", "euler_ancestral"]

SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def noise(shape, k):
    """Standard deviation 1, different in every step k."""
    n = int(np.prod(shape))
    z = np.sqrt(2.0) * np.sin(1.0 + 3.0 * np.arange(n) + 7.0 * k)
    return torch.from_numpy(z.astype(np.float32)).reshape(shape)


@contextlib.contextmanager
def injected(scheduler, k):
    """Makes the scheduler's step draw `noise(shape, k)`."""
    module = import_module(type(scheduler).__module__)
    if not hasattr(module, "randn_tensor"):
        yield
        return
    drawn, module.randn_tensor = module.randn_tensor, lambda shape, **_: noise(shape, k)
    try:
        yield
    finally:
        module.randn_tensor = drawn


def run(scheduler, steps, eta, noise, model):
    """A whole run as diffusers' pipelines do it; the inputs of the network are kept."""
    scheduler.set_timesteps(steps)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    x = noise * scheduler.init_noise_sigma
    kwargs = {"eta": eta} if isinstance(scheduler, diffusers.DDIMScheduler) else {}
    inputs = []
    for k, t in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(x, t)
        inputs.append(scaled)
        with injected(scheduler, k):
            x = scheduler.step(model(scaled, t), t, x, **kwargs).prev_sample
    return x, inputs


def build(native, solver):
    """The pipeline's own scheduler, or `Class.from_config(pipe.scheduler.config)`. Latents are never clipped."""
    if solver == "scheduler":
        if hasattr(native.config, "clip_sample"):
            native.register_to_config(clip_sample=False)
        return native, 0.0
    name, over, eta = SOLVERS[solver]
    if name in ("DDIMScheduler", "DDPMScheduler"):
        over = over | {"clip_sample": False}
    return getattr(diffusers, name).from_config(native.config, **over), eta


def numbers(values):
    return [float(f"{float(v):.9g}") for v in values]


def case(name, cls, file, solvers=ALL, steps=(1, 2, 5, 20), pipeline=False):
    """Runs of one file. `file` is what a folder's scheduler_config.json would say, no more."""
    file = {"_class_name": cls} | file
    native = getattr(diffusers, cls).from_config(file)
    if pipeline:
        parts = dict.fromkeys(["vae", "text_encoder", "tokenizer", "unet", "safety_checker", "feature_extractor"])
        native = StableDiffusionPipeline(**parts, scheduler=native, requires_safety_checker=False).scheduler
    # What training takes: diffusers' scripts read any model's file by DDPMScheduler.
    training = diffusers.DDPMScheduler.from_config(file).alphas_cumprod
    at = sorted({0, 1, len(training) // 2, max(len(training) - 2, 0), len(training) - 1})
    runs = []
    for solver in solvers:
        for n in steps:
            scheduler, eta = build(native, solver)
            if solver in ("pndm", "scheduler") and isinstance(scheduler, diffusers.PNDMScheduler):
                if not scheduler.config.skip_prk_steps and n < 4:
                    continue
            start = torch.linspace(-2, 2, 8).reshape(1, 8, 1, 1)
            end, inputs = run(scheduler, n, eta, start, lambda x, t: 0.3 * x + 0.1 * torch.cos(x))
            assert end.isfinite().all(), (name, solver, n)
            runs.append(
                {
                    "solver": solver.split()[0],
                    "eta": eta,
                    "steps": n,
                    "t": numbers(scheduler.timesteps),
                    "input": numbers(x.ravel()[0] for x in inputs),
                    "end": numbers(end.ravel()),
                }
            )
    return {
        "name": name,
        "file": file,
        "pipeline": pipeline,
        "alphas_cumprod": [[t, float(f"{float(training[t]):.9g}")] for t in at],
        "runs": runs,
    }


def without(names, solvers=ALL):
    return [s for s in solvers if s not in names]


def cases():
    spacings = ("leading", "trailing", "linspace")
    for prediction in ("epsilon", "v_prediction", "sample"):
        for spacing in spacings:
            solvers = without(NO_SAMPLE) if prediction == "sample" else ALL
            file = SD | dict(prediction_type=prediction, timestep_spacing=spacing, steps_offset=1, skip_prk_steps=True)
            yield case(f"{prediction} {spacing}", "DDIMScheduler", file, without(["scheduler"], solvers))

    # Published files, as they are.
    sd = SD | dict(num_train_timesteps=1000, set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1)
    yield case("sd15", "PNDMScheduler", sd | dict(trained_betas=None, clip_sample=False), pipeline=True)
    yield case("sd21", "DDIMScheduler", sd | dict(prediction_type="v_prediction", clip_sample=False), pipeline=True)
    sdxl = dict(prediction_type="epsilon", interpolation_type="linear", timestep_spacing="leading", use_karras_sigmas=False)
    yield case("sdxl", "EulerDiscreteScheduler", sd | sdxl | dict(clip_sample=False, sample_max_value=1.0))

    # Nothing said: the classes' own defaults. The pipeline of Stable Diffusion sees to steps_offset.
    yield case("defaults", "DDPMScheduler", {}, steps=(4, 7))
    few = ["scheduler", "ddim", "euler", "dpmpp_2m"]
    leading = dict(timestep_spacing="leading")
    yield case("no offset, own", "DDIMScheduler", SD | leading, few, (7,), pipeline=True)
    yield case("no offset, said", "EulerDiscreteScheduler", SD | leading | dict(steps_offset=0), few, (7,), pipeline=True)
    yield case("class unused keys", "DPMSolverMultistepScheduler", SD | dict(solver_order=2, variance_type=None), steps=(7,))

    # Zero terminal SNR.
    zero = SD | dict(rescale_betas_zero_snr=True, timestep_spacing="trailing")
    no_pndm = without(["pndm"])
    yield case("zero snr v", "DDIMScheduler", zero | dict(prediction_type="v_prediction"), no_pndm)
    yield case("zero snr sample", "DDIMScheduler", zero | dict(prediction_type="sample"), without(NO_SAMPLE))
    sigma = ["euler", "euler_karras", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_karras"]
    yield case("zero snr epsilon", "EulerDiscreteScheduler", zero, sigma, (5, 20))
    yield case("zero snr leading", "DDIMScheduler", zero | leading, ["ddim", "ddpm"], (5, 20))

    # Euler's and DPM-Solver++'s keys.
    euler = lambda name, **kw: case(name, "EulerDiscreteScheduler", SD | kw, ["scheduler", "euler_ancestral", "dpmpp_2m"])
    yield euler("karras", use_karras_sigmas=True, sigma_min=None, sigma_max=None)
    yield euler("karras of given ends", use_karras_sigmas=True, sigma_min=0.1, sigma_max=10.0, timestep_spacing="leading")
    yield euler("log linear", interpolation_type="log_linear", timestep_spacing="trailing")
    yield euler("log linear karras", interpolation_type="log_linear", use_karras_sigmas=True)
    yield euler("sigma min", final_sigmas_type="sigma_min")
    yield euler("continuous v", timestep_type="continuous", prediction_type="v_prediction", use_karras_sigmas=True)
    yield euler("continuous epsilon", timestep_type="continuous")
    dpm = lambda name, **kw: case(name, "DPMSolverMultistepScheduler", SD | kw, ["scheduler"])
    yield dpm("first order", solver_order=1)
    yield dpm("heun", solver_type="heun")
    yield dpm("karras of dpm", use_karras_sigmas=True)
    # With heun diffusers' last step, of length 0, is not a number here.
    yield dpm("karras to sigma min", use_karras_sigmas=True, final_sigmas_type="sigma_min", lower_order_final=False)
    yield dpm("heun to sigma min", solver_type="heun", final_sigmas_type="sigma_min", lower_order_final=False)
    yield dpm("second order at last", final_sigmas_type="sigma_min", lower_order_final=False, timestep_spacing="trailing")
    yield dpm("lower order at last", final_sigmas_type="sigma_min", timestep_spacing="leading", steps_offset=1)
    yield dpm("euler at last", final_sigmas_type="sigma_min", lower_order_final=False, euler_at_final=True)
    yield dpm("bh2", solver_type="bh2", algorithm_type="dpmsolver++")
    for spacing in spacings:
        clipped = dict(beta_schedule="squaredcos_cap_v2", lambda_min_clipped=-5.1, timestep_spacing=spacing)
        yield case(f"clipped {spacing}", "DPMSolverMultistepScheduler", clipped, ["dpmpp_2m", "dpmpp_2m_karras"])

    # PNDM with its Runge-Kutta start.
    for prediction in ("epsilon", "v_prediction"):
        for spacing in spacings:
            file = SD | dict(prediction_type=prediction, timestep_spacing=spacing, set_alpha_to_one=True)
            yield case(f"prk {prediction} {spacing}", "PNDMScheduler", file, ["scheduler"], (4, 5, 20, 23))

    # DDPM's variances; all timesteps; other betas; numbers of steps that are hard to round.
    yield case("fixed large", "DDPMScheduler", SD | dict(variance_type="fixed_large", steps_offset=1), ["scheduler"])
    yield case("fixed small log", "DDPMScheduler", SD | dict(variance_type="fixed_small_log"), ["scheduler"])
    whole = ["ddpm", "ddim", "ddim eta 0.7", "euler", "euler_ancestral"]
    yield case("all of 40", "DDPMScheduler", dict(num_train_timesteps=40), whole, (40,))
    yield case("cosine", "DDPMScheduler", dict(beta_schedule="squaredcos_cap_v2", num_train_timesteps=300), steps=(7,))
    betas = [0.1, 0.12, 0.14, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7]
    trained = dict(trained_betas=betas, num_train_timesteps=len(betas), skip_prk_steps=True)
    yield case("trained betas", "DDIMScheduler", trained, steps=(3, 5))
    yield case("ties", "DDIMScheduler", SD | dict(timestep_spacing="trailing"), ["ddim", "dpmpp_2m"], (48,))


def others():
    """Files of classes that are no solver here, with all their keys as `save_pretrained` writes them, and with few."""
    solvers = ["ddim", "ddpm", "pndm", "euler_karras", "euler_ancestral", "dpmpp_2m"]
    classes = ["UniPCMultistep", "HeunDiscrete", "KDPM2Discrete", "KDPM2AncestralDiscrete", "DPMSolverSinglestep", "LCM", "TCD"]
    classes += ["DDIMInverse", "DDIMParallel", "DDPMParallel"]
    for name in (f"{c}Scheduler" for c in classes):
        whole = dict(getattr(diffusers, name)(**SD).config)
        # JSON has no infinity, and latents are never clipped.
        whole = {k: v for k, v in whole.items() if not k.startswith("_") and k not in ("clip_sample", "lambda_min_clipped")}
        yield case(f"whole {name}", name, whole | dict(skip_prk_steps=True), solvers, (5,))
    few = SD | dict(prediction_type="v_prediction", timestep_spacing="trailing", skip_prk_steps=True)
    for name in ("DEISMultistepScheduler", "UniPCMultistepScheduler", "HeunDiscreteScheduler", "LCMScheduler"):
        yield case(f"few {name}", name, few, solvers, (5,))
    for name in ("DDIMParallelScheduler", "DDPMParallelScheduler"):
        yield case(f"own {name}", name, SD | dict(steps_offset=1), ["scheduler"], (5, 20))


def micro():
    g = torch.Generator().manual_seed(7)
    unet = UNet2DConditionModel.from_pretrained(MICRO / "unet", torch_dtype=torch.float32).eval()
    native = diffusers.DDIMScheduler.from_pretrained(MICRO / "scheduler")
    text = load_file(OUT / "micro.safetensors")
    cond, uncond = text["cond"], text["uncond"]
    latents = torch.randn(2, 4, 16, 16, generator=g)
    tensors = {"latents": latents}

    def model(x, t):
        e = unet(torch.cat([x, x]), t, torch.cat([uncond.expand_as(cond), cond])).sample
        e_uncond, e_cond = e.chunk(2)
        return e_uncond + GUIDANCE * (e_cond - e_uncond)

    for solver, steps in [("pndm", 10), ("euler", 10), ("euler_ancestral", 10), ("ddpm", 10), ("dpmpp_2m_karras", 10)]:
        config = dict(native.config) | {"skip_prk_steps": True}
        name, over, eta = SOLVERS[solver]
        scheduler = getattr(diffusers, name).from_config(config, **over)
        with torch.no_grad():
            tensors[solver], _ = run(scheduler, steps, eta, latents, model)
        tensors[f"{solver}.t"] = scheduler.timesteps.to(torch.float64)
    save_file({k: v.contiguous() for k, v in tensors.items()}, OUT / "schedulers_micro.safetensors")


def main():
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    for name, made in [("schedulers", cases), ("schedulers_others", others)]:
        lines = [json.dumps(c, separators=(",", ":")) for c in made()]
        (OUT / f"{name}.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
    micro()


if __name__ == "__main__":
    main()
