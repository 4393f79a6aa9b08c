"""Single files as other programs write them, and whether what is exported draws in diffusers.

Made with torch 2.15.0, diffusers 0.42.1, transformers 5.23.0. Run from the repository root:
    python scripts/parity/single_files.py PROGRAM WORK
PROGRAM is the built rpo-train, WORK a folder for what is written. Small models of the three families get random weights
(`files.py`), and each form below is made from their exported file. `import` must give the pipeline's tensors, bit for bit; the
script also prints whether diffusers' own from_single_file reads the form, and then with the same tensors. Forms that must be
refused are, with the words given. Last, the embedded model is exported in f32, f16 and bf16, as folder and as file, and diffusers
must draw with it as the card says, with and without torch_dtype.
"""

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent))
from files import build, networks  # noqa: E402

VAE = {"attn_1.q.": "to_q.", "attn_1.k.": "to_k.", "attn_1.v.": "to_v.", "attn_1.proj_out.": "to_out.0."}
OLD = {"attn_1.q.": "query.", "attn_1.k.": "key.", "attn_1.v.": "value.", "attn_1.proj_out.": "proj_attn."}
HEADS = {
    "sd1": "cond_stage_model.transformer.",
    "sd2": "cond_stage_model.model.",
    "sdxl": "conditioner.embedders.0.transformer.",
}
SECOND = "conditioner.embedders.1.model."


def renamed(tensors, change):
    return {change(name): tensor for name, tensor in tensors.items()}


def swapped(table):
    def change(name):
        for ours, theirs in table.items():
            name = name.replace(ours, "attn_1." + theirs)
        return name

    return lambda tensors, family: renamed(tensors, change)


def reshaped(test, shape):
    return lambda tensors, family: {n: t.reshape(shape(t)) if test(n) else t for n, t in tensors.items()}


def prefixed(head, into):
    return lambda tensors, family: renamed(tensors, lambda n: into + n.removeprefix(head) if n.startswith(head) else n)


def beside(extra):
    return lambda tensors, family: tensors | {n: t for n, t in extra.items()}


def in_attention(end):
    return lambda name: ".attn_1." in name and "norm" not in name and name.endswith(end)


def split(tensors, head):
    """OpenCLIP's names below `head` as transformers has them."""
    out = {}
    for name, t in tensors.items():
        if not name.startswith(head):
            out[name] = t
            continue
        rest = name.removeprefix(head)
        for theirs, ours in {
            "transformer.resblocks.": "text_model.encoder.layers.",
            "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
            "positional_embedding": "text_model.embeddings.position_embedding.weight",
            "ln_final.": "text_model.final_layer_norm.",
            "ln_1.": "layer_norm1.",
            "ln_2.": "layer_norm2.",
            "mlp.c_fc.": "mlp.fc1.",
            "mlp.c_proj.": "mlp.fc2.",
            "attn.out_proj.": "self_attn.out_proj.",
        }.items():
            rest = rest.replace(theirs, ours)
        if ".attn.in_proj_" in rest:
            leaf = rest.rsplit("in_proj_", 1)[1]
            for part, value in zip("qkv", t.chunk(3), strict=True):
                out[head + rest.replace(f"attn.in_proj_{leaf}", f"self_attn.{part}_proj.{leaf}")] = value.clone()
        elif rest == "text_projection":
            out[head + "text_projection.weight"] = t.T.contiguous()
        else:
            out[head + rest] = t
    return out


def text_only(tensors, head):
    return {n: t for n, t in tensors.items() if n.startswith(head)}


def without_wrapper(tensors, family):
    return renamed(tensors, lambda n: n.replace("transformer.text_model.", "transformer."))


def last_layer(tensors, family):
    """The layer that Stable Diffusion 2.x does not read, and what OpenCLIP has besides."""
    head = HEADS["sd2"] + "transformer.resblocks."
    layers = 1 + max(int(n.removeprefix(head).split(".")[0]) for n in tensors if n.startswith(head))
    one = {n.replace(f"{head}0.", f"{head}{layers}."): t.clone() for n, t in tensors.items() if n.startswith(f"{head}0.")}
    more = {HEADS["sd2"] + "text_projection": torch.ones(16, 16), HEADS["sd2"] + "logit_scale": torch.ones(())}
    return tensors | one | more


EMPTY = torch.tensor([])
IDS = torch.arange(77)[None]
# name, families, tensors -> tensors
READ = [
    ("as exported", "sd1 sd2 sdxl", lambda tensors, family: tensors),
    ("VAE attention to_q … to_out.0", "sd1 sdxl", swapped(VAE)),
    ("VAE attention query … proj_attn", "sd1", swapped(OLD)),
    ("VAE attention biases [C, 1, 1]", "sd1", reshaped(in_attention("bias"), lambda t: (-1, 1, 1))),
    ("VAE attention weights [C, C]", "sd2", reshaped(in_attention("weight"), lambda t: t.shape[:2])),
    ("VAE attention weights [C, C, 1]", "sd1", reshaped(in_attention("weight"), lambda t: t.shape[:3])),
    ("VAE below vae.", "sd1", prefixed("first_stage_model.", "vae.")),
    ("all below state_dict.", "sd1 sdxl", lambda tensors, family: renamed(tensors, lambda n: "state_dict." + n)),
    ("text encoder without text_model.", "sd1 sdxl", without_wrapper),
    ("text encoder below transformer. twice", "sd1", prefixed(HEADS["sd1"], HEADS["sd1"] + "transformer.")),
    ("SD 2.1 Turbo: text encoder below conditioner.embedders.0.model.", "sd2", prefixed("cond_stage_model.", "conditioner.embedders.0.")),
    ("SD 1.x below conditioner.embedders.0.transformer.", "sd1", prefixed("cond_stage_model.", "conditioner.embedders.0.")),
    ("OpenCLIP's last layer and projection", "sd2", last_layer),
    ("2.x text encoder in transformers' names", "sd2", lambda tensors, family: split(tensors, HEADS["sd2"])),
    ("XL second text encoder in transformers' names", "sdxl", lambda tensors, family: split(tensors, SECOND)),
    ("position_ids as I64", "sd1", beside({HEADS["sd1"] + "text_model.embeddings.position_ids": IDS})),
    ("position_ids as F32", "sd1", beside({HEADS["sd1"] + "text_model.embeddings.position_ids": IDS.float()})),
    ("logit_scale, text_projection of CLIP", "sd1", beside({HEADS["sd1"] + "text_projection.weight": torch.ones(16, 16), "cond_stage_model.logit_scale": torch.ones(())})),
    ("model_ema., embedding_manager., loss, optimizer", "sd1", beside({n: torch.ones(2) for n in ["model_ema.decay", "embedding_manager.x.weight", "first_stage_model.loss.logvar", "loss", "optimizer_states.0.exp_avg", "callbacks.0", "global_step"]})),
    ("in f16", "sd1 sdxl", lambda tensors, family: {n: t.half() for n, t in tensors.items()}),
]
UNET = "model.diffusion_model."
FIRST = UNET + "input_blocks.0.0.weight"
# name, family, tensors -> tensors, metadata, words of the refusal
REFUSED = [
    ("mark v_pred", "sd1", beside({"v_pred": EMPTY, "ztsnr": EMPTY}), {}, "v_pred"),
    ("modelspec v_prediction", "sd1", beside({}), {"modelspec.prediction_type": "v_prediction"}, "v_prediction"),
    ("modelspec v-prediction", "sd1", beside({}), {"modelspec.prediction_type": "v-prediction"}, "v-prediction"),
    ("modelspec v", "sd1", beside({}), {"modelspec.prediction_type": "v"}, "velocities"),
    ("modelspec of another kind", "sd1", beside({}), {"modelspec.prediction_type": "flow"}, "`flow`"),
    ("EDM", "sdxl", beside({"edm_vpred.sigma_max": torch.tensor(120.0)}), {}, "EDM"),
    ("inpainting", "sd1", lambda t, _: t | {FIRST: torch.zeros(8, 9, 3, 3)}, {}, "inpainting"),
    ("InstructPix2Pix", "sd1", lambda t, _: t | {FIRST: torch.zeros(8, 8, 3, 3)}, {}, "edits pictures"),
    ("depth", "sd2", lambda t, _: t | {FIRST: torch.zeros(8, 5, 3, 3)}, {}, "depth"),
    ("ControlNet inside", "sd1", beside({"control_model.zero_convs.0.0.weight": torch.ones(1)}), {}, "ControlNet"),
    ("a LoRA inside", "sd1", beside({"lora_unet_x.lora_down.weight": torch.ones(1, 1)}), {}, "LoRA"),
    ("U-Net alone", "sd1", lambda t, _: text_only(t, UNET), {}, "a U-Net, no text encoder"),
    ("VAE alone", "sd1", lambda t, _: text_only(t, "first_stage_model."), {}, "a VAE, no U-Net"),
    ("Flux", "sd1", lambda t, _: {"double_blocks.0.img_attn.qkv.weight": EMPTY}, {}, "Flux"),
    ("Stable Diffusion 3", "sd1", lambda t, _: {UNET + "joint_blocks.0.x_block.attn.qkv.weight": EMPTY}, {}, "Stable Diffusion 3"),
    ("PixArt", "sd1", lambda t, _: {"t_block.1.weight": EMPTY}, {}, "PixArt"),
    ("bitsandbytes", "sd1", beside({UNET + "out.2.weight.absmax": torch.ones(1)}), {}, "quantised"),
    ("whole numbers", "sd1", lambda t, _: t | {UNET + "out.2.bias": t[UNET + "out.2.bias"].long()}, {}, "whole numbers"),
    ("NaN", "sd1", lambda t, _: t | {UNET + "out.2.bias": t[UNET + "out.2.bias"] * torch.nan}, {}, "NaN"),
    ("two spellings", "sd1", lambda t, _: t | {"state_dict." + UNET + "out.2.bias": t[UNET + "out.2.bias"].clone()}, {}, "two spellings"),
    ("refiner", "sdxl", lambda t, _: {n.replace(SECOND, "conditioner.embedders.0.model."): v for n, v in t.items() if "embedders.0" not in n}, {}, "refiner"),
]


def differences(found, want):
    count = 0
    for name, network in networks(want).items():
        a, b = network.state_dict(), networks(found)[name].state_dict()
        for key in a:
            count += key not in b or not torch.equal(a[key].float(), b[key].float())
    return count


def main():
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    program, work = sys.argv[1], Path(sys.argv[2])
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)

    def run(*args):
        return subprocess.run([program, *map(str, args)], capture_output=True, text=True)

    def imported(file, config, to):
        return run("import", file, "--config-from", config, "--to", to)

    models = {}
    for family in ["sd1", "sd2", "sdxl"]:
        pipeline = build(family)
        pipeline.save_pretrained(work / family)
        run("export", work / family, "--to", work / f"{family}.safetensors").check_returncode()
        models[family] = (pipeline, load_file(work / f"{family}.safetensors"))
    for i, (form, families, make) in enumerate(READ):
        for family in families.split():
            pipeline, tensors = models[family]
            file, to = work / f"{i}-{family}.safetensors", work / f"{i}-{family}"
            made = {n: t.contiguous() for n, t in make(dict(tensors), family).items()}
            save_file(made, file)
            done = imported(file, work / family, to)
            assert done.returncode == 0, (form, done.stderr)
            want = pipeline if form != "in f16" else build(family).to(torch.float16).to(torch.float32)
            found = type(pipeline).from_pretrained(to, local_files_only=True)
            assert differences(found, want) == 0, form
            try:
                theirs = type(pipeline).from_single_file(file, config=str(work / family), local_files_only=True)
                theirs = f"diffusers: {differences(theirs, want)} differences"
            except Exception as e:
                theirs = f"diffusers: {type(e).__name__}"
            print(f"read     {family:5} {form}: 0 differences ({theirs})", flush=True)
    for i, (form, family, make, metadata, words) in enumerate(REFUSED):
        file = work / f"r{i}.safetensors"
        save_file({n: t.contiguous() for n, t in make(dict(models[family][1]), family).items()}, file, metadata)
        done = imported(file, work / family, work / f"r{i}")
        assert done.returncode == 2 and words in done.stderr and not (work / f"r{i}").exists(), (form, done)
        print(f"refused  {family:5} {form}: {done.stderr.splitlines()[0].split(': ', 2)[-1]}")
    for dtype, torch_dtype in [("f32", torch.float32), ("f16", torch.float16), ("bf16", torch.bfloat16)]:
        to, file = work / f"micro-{dtype}", work / f"micro-{dtype}.safetensors"
        for place in [to, file]:
            run("export", "micro", "--to", place, "--dtype", dtype).check_returncode()
        ways = {
            "folder": StableDiffusionPipeline.from_pretrained(to, local_files_only=True),
            "folder, torch_dtype": StableDiffusionPipeline.from_pretrained(to, local_files_only=True, torch_dtype=torch_dtype),
            "file": StableDiffusionPipeline.from_single_file(file, config=str(to), local_files_only=True),
            "file, torch_dtype": StableDiffusionPipeline.from_single_file(file, config=str(to), local_files_only=True, torch_dtype=torch_dtype),
        }
        for way, pipeline in ways.items():
            pipeline.set_progress_bar_config(disable=True)
            noise = torch.Generator().manual_seed(0)
            picture = pipeline("a photo of a lion", num_inference_steps=4, generator=noise, output_type="np").images[0]
            assert picture.std() > 0.02, (dtype, way)
            kinds = {str(n.dtype).removeprefix("torch.") for n in networks(pipeline).values()}
            print(f"draws    {dtype:4} {way}: {', '.join(kinds)}, mean {picture.mean():.4f}, deviation {picture.std():.4f}", flush=True)


if __name__ == "__main__":
    main()
