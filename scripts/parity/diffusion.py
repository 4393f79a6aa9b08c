"""Stable Diffusion 1.5, 2.1 and SDXL with random weights: diffusers and transformers against `rpo-train forward`.

    python scripts/parity/diffusion.py target/debug/rpo-train --family sd15 [--size full|small] [--latents 64] [--parts unet,grad,vae,text]

Builds each part at the true size of the released model through its configuration class, with random weights that are
exact in half precision, saves it as diffusers and transformers do (float16 files), computes the reference in float32,
runs our program on the same files and prints relative errors (L2): `output`, and for `grad` the gradient of one step of
recipe `official` over all parameters together and of the worst tensor, with a frozen reference that differs from the model.
`--golden` writes the small families to crates/rpo-train/tests/golden/families, where CI holds them.

Made with torch 2.15.0, diffusers 0.42.1, transformers 5.23.0, safetensors 0.8. Full sizes need up to 16 GB of memory
(SDXL's gradient does not fit and is left to --size small) and as much disk.
"""

import argparse
import gc
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler, UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "crates/rpo-train/tests/golden/families"

CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
UP = {CROSS: "CrossAttnUpBlock2D", PLAIN: "UpBlock2D"}


def unet_config(down, **more):
    return dict(down_block_types=down, up_block_types=tuple(UP[d] for d in reversed(down)), **more)


SCHEDULE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
CLIP_L = dict(vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
              max_position_embeddings=77, hidden_act="quick_gelu", projection_dim=768, eos_token_id=2)
XL = dict(use_linear_projection=True, addition_embed_type="text_time")
FULL = {
    "sd15": dict(
        unet=unet_config((CROSS, CROSS, CROSS, PLAIN), sample_size=64, block_out_channels=(320, 640, 1280, 1280),
                         attention_head_dim=8, cross_attention_dim=768),
        text=CLIP_L,
    ),
    "sd21": dict(
        unet=unet_config((CROSS, CROSS, CROSS, PLAIN), sample_size=96, block_out_channels=(320, 640, 1280, 1280),
                         attention_head_dim=(5, 10, 20, 20), cross_attention_dim=1024, use_linear_projection=True,
                         upcast_attention=True),
        text=CLIP_L | dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16, hidden_act="gelu", projection_dim=512),
    ),
    "sdxl": dict(
        unet=unet_config((PLAIN, CROSS, CROSS), sample_size=128, block_out_channels=(320, 640, 1280),
                         attention_head_dim=(5, 10, 20), cross_attention_dim=2048, transformer_layers_per_block=(1, 2, 10),
                         addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816, **XL),
        text=CLIP_L,
        text_2=CLIP_L | dict(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20, hidden_act="gelu", projection_dim=1280),
    ),
}
SMALL_TEXT = dict(vocab_size=600, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
                  max_position_embeddings=24, hidden_act="quick_gelu", projection_dim=16, eos_token_id=2)
SMALL = {
    "sd15": dict(
        unet=unet_config((CROSS, CROSS, CROSS, PLAIN), sample_size=16, block_out_channels=(4, 4, 8, 8), norm_num_groups=2,
                         layers_per_block=1, attention_head_dim=2, cross_attention_dim=16),
        text=SMALL_TEXT,
    ),
    "sd21": dict(
        unet=unet_config((CROSS, CROSS, CROSS, PLAIN), sample_size=16, block_out_channels=(4, 4, 8, 8), norm_num_groups=2,
                         layers_per_block=1, attention_head_dim=(1, 2, 4, 4), cross_attention_dim=16, use_linear_projection=True, upcast_attention=True),
        text=SMALL_TEXT | dict(hidden_act="gelu"),
    ),
    "sdxl": dict(
        unet=unet_config((PLAIN, CROSS, CROSS), sample_size=16, block_out_channels=(4, 4, 8), norm_num_groups=2,
                         layers_per_block=1, attention_head_dim=(1, 2, 4), cross_attention_dim=28, transformer_layers_per_block=(1, 2, 3),
                         addition_time_embed_dim=8, projection_class_embeddings_input_dim=58, **XL),
        text=SMALL_TEXT,
        text_2=SMALL_TEXT | dict(hidden_size=12, num_hidden_layers=3, hidden_act="gelu", projection_dim=10),
    ),
}
VAE = dict(down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
VAE_FULL = VAE | dict(block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512)
VAE_SMALL = VAE | dict(block_out_channels=(4, 4, 8, 8), layers_per_block=1, norm_num_groups=2, sample_size=64)


def randomise(model, seed):
    """No bias is zero, no norm weight one, every value is exact in float16."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if p.ndim > 1:
            p.data = noise * (0.8 / p[0].numel() ** 0.5)
        else:
            p.data = noise * 0.1 + (1.0 if name.endswith("weight") else 0.0)
        p.data = p.data.half().float()
    return model.eval().requires_grad_(False)


def save(model, folder):
    """float16 files; the model stays in float32."""
    model.half().save_pretrained(folder)
    return model.float()


def relative(a, b):
    a, b = a.double(), b.double()
    return float((a - b).norm() / b.norm())


class Check:
    def __init__(self, args, folder):
        self.args, self.folder, self.rows = args, folder, []
        self.large = args.size == "full"
        self.family = args.family
        self.config = (FULL if self.large else SMALL)[args.family]
        self.generator = torch.Generator().manual_seed(11)

    def randn(self, *shape):
        return torch.randn(shape, generator=self.generator)

    def ours(self, name, part, inputs, *more):
        source, target = self.folder / f"{name}.in.safetensors", self.folder / f"{name}.out.safetensors"
        save_file({k: v.contiguous() for k, v in inputs.items()}, source)
        start = time.time()
        subprocess.run(
            [self.args.program, "forward", "--model", self.folder, "--part", part, "--inputs", source, "--output", target, *more],
            check=True, stdout=subprocess.DEVNULL,
        )
        self.seconds = time.time() - start
        return safe_open(target, "pt")

    def row(self, what, error, note=""):
        print(f"{self.family} {self.args.size} {what:34} {error:.2e} {note}", flush=True)
        self.rows.append((what, error))

    def keep(self, name, tensors):
        """The reference's results, beside the inputs, for the tests of CI."""
        if self.args.golden:
            save_file({k: v.detach().contiguous() for k, v in tensors.items()}, self.folder / f"{name}.expected.safetensors")

    def text_inputs(self, batch):
        c = self.config["unet"]["cross_attention_dim"]
        inputs = {"encoder_hidden_states": self.randn(batch, 77 if self.large else 24, c)}
        if self.family == "sdxl":
            u = self.config["unet"]
            pooled = u["projection_class_embeddings_input_dim"] - 6 * u["addition_time_embed_dim"]
            inputs["text_embeds"] = self.randn(batch, pooled)
            inputs["time_ids"] = torch.tensor([[1024, 768, 0, 16, 512, 512]] * batch).float()
        return inputs

    def added(self, inputs, suffix=""):
        if self.family != "sdxl":
            return None
        return {"text_embeds": inputs[f"text_embeds{suffix}"], "time_ids": inputs["time_ids"]}

    @torch.no_grad()
    def unet(self):
        unet = randomise(UNet2DConditionModel(**self.config["unet"]), 1)
        save(unet, self.folder / "unet")
        side = self.args.latents if self.large else 16
        inputs = {"sample": self.randn(2, 4, side, side), "timestep": torch.tensor([1, 981])} | self.text_inputs(2)
        start = time.time()
        out = unet(inputs["sample"], inputs["timestep"], inputs["encoder_hidden_states"], added_cond_kwargs=self.added(inputs)).sample
        theirs = time.time() - start
        del unet
        gc.collect()
        result = self.ours("unet", "unet", inputs).get_tensor("sample")
        self.row("unet output", relative(result, out), f"(diffusers {theirs:.1f} s, ours with loading {self.seconds:.1f} s)")
        self.keep("unet", {"sample": out})

    def schedule(self):
        if self.family == "sd15":
            scheduler = PNDMScheduler(**SCHEDULE, skip_prk_steps=True, set_alpha_to_one=False)
        elif self.family == "sd21":
            scheduler = DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False, prediction_type="v_prediction")
        else:
            scheduler = EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="leading")
        scheduler.save_pretrained(self.folder / "scheduler")

    def grad(self):
        """One step of recipe `official`: L_sim + L_pref with means of squares, beta 10 so that both terms show."""
        side = self.args.latents if self.large else 16
        ddim = DDIMScheduler(**SCHEDULE, prediction_type="v_prediction" if self.family == "sd21" else "epsilon")
        inputs = {"labels": torch.tensor([1.0]), "timesteps_ref": torch.tensor([251]), "timesteps_gen": torch.tensor([620])}
        for s in ("ref", "gen"):
            inputs |= {f"latents_{s}": self.randn(1, 4, side, side), f"noise_{s}": self.randn(1, 4, side, side)}
            inputs |= {k if k == "time_ids" else f"{k}_{s}": v for k, v in self.text_inputs(1).items()}
        both = lambda name: torch.cat([inputs[f"{name}_ref"], inputs[f"{name}_gen"]])
        latents, noise, t, hidden = both("latents"), both("noise"), both("timesteps"), both("encoder_hidden_states")
        added = {"text_embeds": both("text_embeds"), "time_ids": inputs["time_ids"].repeat(2, 1)} if self.family == "sdxl" else None
        x_t = ddim.add_noise(latents, noise, t)
        target = ddim.get_velocity(latents, noise, t) if self.family == "sd21" else noise

        def errors(unet):
            return ((unet(x_t, t, hidden, added_cond_kwargs=added).sample - target) ** 2).mean(dim=(1, 2, 3))

        base = randomise(UNet2DConditionModel(**self.config["unet"]), 1)
        for i, p in enumerate(base.parameters()):
            if i % 7 == 0:
                p.data = (p.data * 1.3).half().float()
        save(base, self.folder / "base/unet")
        with torch.no_grad():
            base_errors = errors(base)
        del base
        gc.collect()
        theta = randomise(UNet2DConditionModel(**self.config["unet"]), 1)
        save(theta, self.folder / "unet")
        theta.requires_grad_(True).train()
        theta.enable_gradient_checkpointing()
        theta_errors = errors(theta)
        ell = (base_errors[0] - theta_errors[0]) - (base_errors[1] - theta_errors[1])
        l_pref = -F.logsigmoid(10.0 * ell)
        loss = theta_errors[0] + l_pref
        loss.backward()
        expected = self.folder / "grad.expected.safetensors"
        values = {f"grad.{k}": p.grad for k, p in theta.named_parameters()}
        scalars = {"loss": loss, "l_sim": theta_errors[0], "l_pref": l_pref, "ell": ell[None]}
        save_file({k: v.detach().contiguous() for k, v in (values | scalars).items()}, expected)
        del theta, values, theta_errors, loss, l_pref, ell, scalars
        gc.collect()
        result = self.ours("grad", "unet", inputs, "--grad", "official", "--beta", "10", "--base", self.folder / "base", "--recompute")
        wanted = safe_open(expected, "pt")
        names = set(wanted.keys())
        assert names == set(result.keys()), names ^ set(result.keys())
        off, total, worst = 0.0, 0.0, (0.0, "")
        for name in sorted(names):
            a, b = result.get_tensor(name).double(), wanted.get_tensor(name).double()
            if not name.startswith("grad."):
                self.row(f"step {name}", relative(a, b), f"({float(b.reshape(-1)[0]):.6f})")
                continue
            off, total = off + float((a - b).norm()) ** 2, total + float(b.norm()) ** 2
            worst = max(worst, (relative(a, b), name[5:]))
        self.row("gradient, all parameters", (off / total) ** 0.5, f"({len(names) - 4} tensors, {self.seconds:.0f} s with loading)")
        self.row("gradient, worst tensor", worst[0], worst[1])

    @torch.no_grad()
    def vae(self):
        scale = 0.13025 if self.family == "sdxl" else 0.18215
        vae = randomise(AutoencoderKL(**(VAE_FULL if self.large else VAE_SMALL), scaling_factor=scale), 2)
        save(vae, self.folder / "vae")
        side = 512 if self.large else 32
        picture = self.randn(1, 3, side, side).clamp(-1, 1)
        posterior = vae.encode(picture).latent_dist
        z = self.randn(1, 4, side // 8, side // 8)
        decoded = vae.decode(z).sample
        del vae
        gc.collect()
        result = self.ours("vae_encode", "vae-encode", {"sample": picture})
        self.row("vae mean", relative(result.get_tensor("mean"), posterior.mean))
        self.row("vae logvar", relative(result.get_tensor("logvar"), posterior.logvar))
        result = self.ours("vae_decode", "vae-decode", {"latents": z})
        self.row("vae decoded", relative(result.get_tensor("sample"), decoded), f"({self.seconds:.1f} s with loading)")
        self.keep("vae_encode", {"mean": posterior.mean, "logvar": posterior.logvar})
        self.keep("vae_decode", {"sample": decoded})

    @torch.no_grad()
    def text(self):
        config = self.config["text"]
        vocab, length = config["vocab_size"], config["max_position_embeddings"]
        ids = torch.randint(1, vocab - 2, (3, length), generator=self.generator)
        for row, end in enumerate((5, length - 1, 11)):
            ids[row, end:] = vocab - 1
        ids_2 = ids.clone()
        ids_2[0, 6:] = 0
        first = randomise(CLIPTextModel(CLIPTextConfig(**config)), 3)
        save(first, self.folder / "text_encoder")
        out = first(ids, output_hidden_states=True)
        expected = {"last_hidden_state": out.last_hidden_state, "pooler_output": out.pooler_output}
        expected["encoder_hidden_states"] = out.last_hidden_state.clone()
        inputs = {"input_ids": ids}
        del first
        if "text_2" in self.config:
            second = randomise(CLIPTextModelWithProjection(CLIPTextConfig(**self.config["text_2"])), 4)
            save(second, self.folder / "text_encoder_2")
            out_2 = second(ids_2, output_hidden_states=True)
            expected["encoder_hidden_states"] = torch.cat([out.hidden_states[-2], out_2.hidden_states[-2]], -1)
            expected["text_embeds"] = out_2.text_embeds
            inputs["input_ids_2"] = ids_2
            del second
        gc.collect()
        result = self.ours("text", "text", inputs)
        for name, value in expected.items():
            self.row(f"text {name}", relative(result.get_tensor(name), value))
        self.keep("text", expected)

    def index(self):
        """model_index.json and tokenizers, so that the folder is a whole pipeline."""
        xl = self.family == "sdxl"
        index = {"_class_name": "StableDiffusionXLPipeline" if xl else "StableDiffusionPipeline", "_diffusers_version": "0.42.1"}
        index |= {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
        index |= {"text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"]}
        index["scheduler"] = ["diffusers", json.loads((self.folder / "scheduler/scheduler_config.json").read_text())["_class_name"]]
        if xl:
            index |= {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"], "tokenizer_2": ["transformers", "CLIPTokenizer"]}
            index["force_zeros_for_empty_prompt"] = True
        else:
            index |= {"safety_checker": [None, None], "feature_extractor": [None, None]}
        (self.folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
        for name in ["tokenizer"] + ["tokenizer_2"] * xl:
            shutil.copytree(ROOT / "assets/micro/tokenizer", self.folder / name, dirs_exist_ok=True)

    def run(self, parts):
        self.schedule()
        self.index()
        for part in parts:
            getattr(self, part)()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--family", choices=sorted(FULL), default="sd15")
    parser.add_argument("--size", choices=("full", "small"), default="full")
    parser.add_argument("--latents", type=int, default=64, help="height and width of the latents at full size")
    parser.add_argument("--parts", default="unet,grad,vae,text")
    parser.add_argument("--keep", help="folder to keep the model in")
    parser.add_argument("--golden", action="store_true")
    args = parser.parse_args()
    parts = args.parts.split(",")
    if args.golden:
        args.size, args.keep = "small", str(GOLDEN / args.family)
        shutil.rmtree(args.keep, ignore_errors=True)
    if args.size == "full" and args.family == "sdxl" and "grad" in parts:
        parts.remove("grad")
        print("sdxl full: the gradient of all 2.6 billion parameters does not fit; see --size small")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(args.keep or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        Check(args, folder).run(parts)
        if args.golden:
            for path in folder.glob("*.out.safetensors"):
                path.unlink()


if __name__ == "__main__":
    main()
