"""LoRA files between `rpo-train` and diffusers + peft: Stable Diffusion 1.x, 2.x and XL with random weights.

    python scripts/parity/lora.py target/debug/rpo-train [--family sd1 sd2 sdxl]
    python scripts/parity/lora.py target/debug/rpo-train --full      # SD 1.5's U-Net at true size: 12 GB of memory

For each family a small random pipeline folder is built and saved by diffusers. Then:
  ours    `rpo-train run` trains a LoRA on it for a few steps. diffusers loads the kohya file and the PEFT file with
          `pipe.load_lora_weights`; after `fuse_lora` every weight is compared with `rpo-train lora merge`, and before it the
          prediction of the adapted U-Net with `rpo-train forward --lora`, and a picture drawn by the pipeline with one whose every
          prediction is ours.
  theirs  peft adapters with random A and B, on attention and on everything, are saved by `save_lora_weights`; our merge of that
          file, and diffusers' own reading of our conversion to kohya's keys, are compared with `fuse_lora`.
Both ways also with adapters on the text encoders, SDXL's both: peft's by `text_encoder.add_adapter`, ours by `train.parts = ["lora",
"text_encoder"]`. Then the weights of all parts are compared, and the states of prompts with `rpo-train forward --part text --lora`.
And with a word, `train.parts = ["lora", "token"]`, its embedding loaded beside the LoRA as a checkpoint's card says: states and predictions.
Prints the largest relative error (L2) of a weight, and how many weights a LoRA changed. Ends with an error if one is above 1e-5.

Made with torch 2.15.0, diffusers 0.42.1, peft 0.21.2, transformers 5.23.0, safetensors 0.8.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import diffusers
import transformers
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

ROOT = Path(__file__).resolve().parents[2]
MICRO = ROOT / "assets/micro"
LIMIT = 1e-5
SCALE = 0.8
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
TEXT_ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]
TEXT_EVERYTHING = TEXT_ATTENTION + ["fc1", "fc2"]
PROMPTS = ["a photo of a dog in the snow", "two red balls", ""]
EVERYTHING = ATTENTION + ["proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2", "conv_shortcut", "time_emb_proj", "conv"]
CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
UP = {CROSS: "CrossAttnUpBlock2D", PLAIN: "UpBlock2D"}


def blocks(down, **more):
    return dict(down_block_types=down, up_block_types=tuple(UP[d] for d in reversed(down)), **more)


SMALL = dict(norm_num_groups=8, sample_size=16)
# The layouts of the released models, narrower: the numbering of SDXL's blocks is that of its three levels of two layers.
FAMILIES = {
    "sd1": dict(unet=blocks((CROSS, CROSS, CROSS, PLAIN), block_out_channels=(16, 24, 32, 32), attention_head_dim=4, cross_attention_dim=32)),
    "sd2": dict(unet=blocks((CROSS, CROSS, CROSS, PLAIN), block_out_channels=(16, 24, 32, 32), attention_head_dim=(2, 3, 4, 4),
                            cross_attention_dim=32, use_linear_projection=True), prediction_type="v_prediction", hidden_act="gelu"),
    "sdxl": dict(unet=blocks((PLAIN, CROSS, CROSS), block_out_channels=(16, 24, 32), attention_head_dim=(2, 3, 4), cross_attention_dim=72,
                             transformer_layers_per_block=(1, 2, 3), use_linear_projection=True, addition_embed_type="text_time",
                             addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 24)),
}
diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
TEXT = json.loads((MICRO / "text_encoder/config.json").read_text())
# A training of seconds.
SHORT = """[sampler]
steps = 2
[training]
steps = 3
batch = 1
learning_rate = 2e-2
[recipe]
negatives_per_prompt = 1
[validation]
every = 3
prompts = 1
pictures_per_prompt = 1
[test]
prompts = 1
pictures_per_prompt = 1
"""
failures = []


def told(what, error, note=""):
    print(f"    {what:<66} {error:9.2e} {note}", flush=True)
    if not error <= LIMIT:
        failures.append(what)


def run(*args):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{args}\n{done.stdout}{done.stderr}")
    return done.stdout


def relative(a, b):
    return float((a.double() - b.double()).norm() / b.double().norm().clamp_min(1e-30))


def text_encoder(cls, hidden, act="quick_gelu"):
    keep = ("vocab_size", "max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id")
    return cls(CLIPTextConfig(**{k: TEXT[k] for k in keep}, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=2,
                              num_attention_heads=4, hidden_act=act, projection_dim=24)).eval()


def pipeline(name, folder):
    family = FAMILIES[name]
    torch.manual_seed(1)
    unet = UNet2DConditionModel(**SMALL, **family["unet"]).eval()
    vae = AutoencoderKL(block_out_channels=(8, 16), norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 2,
                        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, sample_size=32).eval()
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
                              steps_offset=1, prediction_type=family.get("prediction_type", "epsilon"))
    tokenizer = AutoTokenizer.from_pretrained(MICRO / "tokenizer")
    if name == "sdxl":
        pipe = StableDiffusionXLPipeline(vae, text_encoder(CLIPTextModel, 48), text_encoder(CLIPTextModelWithProjection, 24, "gelu"),
                                         tokenizer, tokenizer, unet, scheduler)
    else:
        encoder = text_encoder(CLIPTextModel, 32, family.get("hidden_act", "quick_gelu"))
        pipe = StableDiffusionPipeline(vae, encoder, tokenizer, unet, scheduler, None, None, requires_safety_checker=False)
    pipe.save_pretrained(folder)
    # transformers 5 writes tokenizer.json alone; the released folders hold the vocabulary and the merges.
    for part in ("tokenizer", "tokenizer_2") if name == "sdxl" else ("tokenizer",):
        shutil.rmtree(folder / part)
        shutil.copytree(MICRO / "tokenizer", folder / part)
    return pipe


def fresh(pipe_class, folder):
    pipe = pipe_class.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def inputs(unet):
    """Arguments of one prediction."""
    g = torch.Generator().manual_seed(3)
    c = unet.config
    values = {"sample": torch.randn(2, c.in_channels, 16, 16, generator=g), "timestep": torch.tensor([981, 21]),
              "encoder_hidden_states": torch.randn(2, 7, c.cross_attention_dim, generator=g)}
    if c.addition_embed_type:
        width = c.projection_class_embeddings_input_dim - 6 * c.addition_time_embed_dim
        values |= {"text_embeds": torch.randn(2, width, generator=g), "time_ids": torch.tensor([[128, 128, 0, 0, 128, 128.0]] * 2)}
    return values


def predict(unet, values):
    added = {k: values[k] for k in ("text_embeds", "time_ids") if k in values} or None
    with torch.no_grad():
        return unet(values["sample"], values["timestep"], values["encoder_hidden_states"], added_cond_kwargs=added).sample


def ours_predicts(binary, model, lora, values, work):
    save_file({k: v.contiguous() for k, v in values.items()}, work / "in.safetensors")
    run(binary, "forward", "--model", model, "--part", "unet", "--lora", lora, "--lora-scale", SCALE,
        "--inputs", work / "in.safetensors", "--output", work / "out.safetensors")
    return load_file(work / "out.safetensors")["sample"]


def fused(unet):
    """All weights after fuse_lora, by the names they had before peft wrapped the layers."""
    unet.fuse_lora(lora_scale=SCALE)
    return {k.replace(".base_layer", ""): v for k, v in unet.state_dict().items() if ".lora_" not in k}


def compare(what, theirs, merged, base):
    ours = load_file(merged / "unet/diffusion_pytorch_model.safetensors") if (merged / "unet").is_dir() else load_file(
        merged / "diffusion_pytorch_model.safetensors")
    assert set(ours) == set(theirs), set(ours) ^ set(theirs)
    changed = sum(not torch.equal(theirs[k], base[k]) for k in base)
    same = sum(torch.equal(ours[k], base[k]) for k in base)
    assert changed and changed + same == len(base), (changed, same, len(base))
    told(what, max(relative(ours[k], theirs[k]) for k in ours), f"{changed} of {len(base)} weights changed")


def encoders(pipe):
    """The text encoders by the names of their folders."""
    return {name: getattr(pipe, name) for name in ("text_encoder", "text_encoder_2") if getattr(pipe, name, None) is not None}


def plain(network):
    """A network's weights by the names that they had before peft wrapped the layers."""
    state = {k.replace(".base_layer", ""): v.clone() for k, v in network.state_dict().items() if ".lora_" not in k}
    return {k: v for k, v in state.items() if not k.endswith("position_ids")}


def all_fused(pipe):
    """The weights of all adapted parts after fuse_lora."""
    parts = {"unet": pipe.unet} | encoders(pipe)
    pipe.fuse_lora(components=list(parts), lora_scale=SCALE)
    return {part: plain(network) for part, network in parts.items()}


def compare_parts(what, theirs, folder, bases):
    for part, weights in theirs.items():
        (file,) = (folder / part).glob("*.safetensors")
        ours, base = load_file(file), bases[part]
        ours = {k: v for k, v in ours.items() if not k.endswith("position_ids")}
        assert set(ours) == set(weights) == set(base), (part, set(ours) ^ set(weights))
        changed = sum(not torch.equal(weights[k], base[k]) for k in base)
        same = sum(torch.equal(ours[k], base[k]) for k in base)
        assert changed and changed + same == len(base), (part, changed, same, len(base))
        told(f"{what}: {part}", max(relative(ours[k], weights[k]) for k in base), f"{changed} of {len(base)} weights changed")


def states(pipe, prompts=PROMPTS):
    """The pipeline's states of prompts, SDXL's also pooled."""
    with torch.no_grad():
        encoded = pipe.encode_prompt(prompts, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    return {"encoder_hidden_states": encoded[0]} | ({"text_embeds": encoded[2]} if len(encoded) == 4 else {})


def our_states(binary, model, lora, work):
    run(binary, "forward", "--model", model, "--part", "text", "--lora", lora, "--lora-scale", SCALE,
        "--output", work / "text.safetensors", "--text", *PROMPTS)
    return load_file(work / "text.safetensors")


def compare_states(what, binary, pipe, model, lora, work, base):
    pipe.set_adapters(pipe.get_active_adapters(), [SCALE])
    theirs, ours = states(pipe), our_states(binary, model, lora, work)
    far = min(relative(theirs[k], base[k]) for k in theirs)
    assert far > 1e-3, far
    told(f"{what}: states of prompts", max(relative(ours[k], theirs[k]) for k in theirs), f"{far:.2f} from the base's")


def with_text_encoders(binary, kind, model, work, bases):
    base = states(fresh(kind, model))

    print("  ours with text encoders, read by diffusers")
    step = train(binary, model, work, "text", """
[train]
parts = ["lora", "text_encoder"]
rates = { text_encoder = 2.0 }
[text_encoder]
rank = 3
alpha = 5.0
targets = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1"]
""")
    (main,) = step.glob("*.safetensors")
    assert not list(step.glob("text_encoder*"))
    run(binary, "lora", "merge", step, "--model", model, "--to", work / "merged-ours-text", "--scale", SCALE)
    for what, place, file in (("kohya", step, main.name), ("PEFT", step / "diffusers", "pytorch_lora_weights.safetensors")):
        pipe = fresh(kind, model)
        pipe.load_lora_weights(place, weight_name=file)
        compare_states(what, binary, pipe, model, place / file, work, base)
        pipe = fresh(kind, model)
        pipe.load_lora_weights(place, weight_name=file)
        compare_parts(f"{what}: fuse_lora and lora merge", all_fused(pipe), work / "merged-ours-text", bases)
    run(binary, "lora", "unmerge", step, "--model", work / "merged-ours-text", "--to", work / "back-text", "--scale", SCALE)
    for part, weights in bases.items():
        (file,) = (work / "back-text" / part).glob("*.safetensors")
        back = load_file(file)
        told(f"lora unmerge brings the base back: {part}", max(relative(back[k], weights[k]) for k in weights))

    print("  theirs with text encoders, read by us")
    for what, targets, of_text, rank, alpha in (("attention", ATTENTION, TEXT_ATTENTION, 4, 6), ("everything", EVERYTHING, TEXT_EVERYTHING, 3, 8)):
        pipe = fresh(kind, model)
        lora, config = adapters(pipe.unet, targets, rank, alpha)
        arguments = {"unet_lora_layers": lora, "unet_lora_adapter_metadata": config}
        for i, (part, encoder) in enumerate(encoders(pipe).items()):
            # Each part has a rank and a strength of its own.
            lora, config = adapters(encoder, of_text, rank + 1 + i, alpha - 1 - i)
            arguments |= {f"{part}_lora_layers": lora, f"{part}_lora_adapter_metadata": config}
        kind.save_lora_weights(work / f"text-{what}", **arguments)
        name = "pytorch_lora_weights.safetensors"
        compare_states(what, binary, pipe, model, work / f"text-{what}" / name, work, base)
        pipe = fresh(kind, model)
        pipe.load_lora_weights(work / f"text-{what}", weight_name=name)
        theirs = all_fused(pipe)
        run(binary, "lora", "merge", work / f"text-{what}", "--model", model, "--to", work / f"merged-text-{what}", "--scale", SCALE)
        compare_parts(f"{what}: save_lora_weights, lora merge", theirs, work / f"merged-text-{what}", bases)
        for form in ("kohya", "peft"):
            run(binary, "lora", "convert", work / f"text-{what}", "--to", work / f"{what}-{form}.safetensors", "--format", form)
            pipe = fresh(kind, model)
            pipe.load_lora_weights(work, weight_name=f"{what}-{form}.safetensors")
            again = all_fused(pipe)
            for part, weights in theirs.items():
                told(f"{what}: converted to {form}, read by diffusers: {part}", max(relative(again[part][k], weights[k]) for k in weights))


def with_word(binary, kind, model, work):
    print("  ours with a word, read by diffusers")
    step = train(binary, model, work, "word", """
[train]
parts = ["lora", "token"]
[token]
vectors = 2
""")
    embedding = step / "learned_embeds.safetensors"
    (main,) = set(step.glob("*.safetensors")) - {embedding}
    rows = load_file(embedding)
    prompts = ["a [v] dog in the snow", "[v] [v]", "two red balls"]
    for what, place, file in (("kohya", step, main.name), ("PEFT", step / "diffusers", "pytorch_lora_weights.safetensors")):
        pipe = fresh(kind, model)
        base = states(pipe, prompts)
        pipe.load_lora_weights(place, weight_name=file)
        pipe.set_adapters(pipe.get_active_adapters(), [SCALE])
        if "text_encoder_2" in encoders(pipe):
            for key, part in (("clip_l", ""), ("clip_g", "_2")):
                encoder, tokenizer = getattr(pipe, "text_encoder" + part), getattr(pipe, "tokenizer" + part)
                pipe.load_textual_inversion({"[v]": rows[key]}, token="[v]", text_encoder=encoder, tokenizer=tokenizer)
        else:
            pipe.load_textual_inversion(embedding)
        theirs = states(pipe, prompts)
        run(binary, "forward", "--model", model, "--part", "text", "--embedding", embedding, "--output", work / "word.safetensors",
            "--text", *prompts)
        ours = load_file(work / "word.safetensors")
        far = [relative(theirs["encoder_hidden_states"][i], base["encoder_hidden_states"][i]) for i in range(3)]
        assert min(far[:2]) > 1e-3 and far[2] == 0, far
        told(f"{what}: states of prompts with the word", max(relative(ours[k], theirs[k]) for k in theirs), f"{min(far[:2]):.2f} from the base's")
        values = inputs(pipe.unet) | {k: v[:2] for k, v in theirs.items()}
        told(f"{what}: prediction under them", relative(ours_predicts(binary, model, place / file, values, work), predict(pipe.unet, values)))


def train(binary, model, work, name="lora", more=""):
    (work / f"{name}.toml").write_text(f"""
name = "parity"
reproduces = "LoRA files"
output = "{work}/runs"
[model]
path = "{model}"
[subjects]
count = 1
[lora]
rank = 4
alpha = 6.0
{more}
{SHORT}""")
    run(binary, work / f"{name}.toml", "--out", work / f"run-{name}")
    (step,) = (work / f"run-{name}").glob("trajectories/*/*/seed-0/lora/step-000003")
    return step


def picture(binary, pipe, model, lora, work):
    """The pipeline's picture, and one whose predictions are asked of `rpo-train forward`."""
    unet = pipe.unet
    arguments = dict(prompt="a photo of a dog in the snow", num_inference_steps=4, guidance_scale=4.0, output_type="np", height=32, width=32)
    draw = lambda: pipe(**arguments, generator=torch.Generator().manual_seed(5)).images  # noqa: E731
    theirs = draw()
    forward = unet.forward

    def asked(sample, timestep, encoder_hidden_states, added_cond_kwargs=None, return_dict=True, **_):
        values = {"sample": sample, "timestep": torch.as_tensor(timestep).reshape(-1), "encoder_hidden_states": encoder_hidden_states}
        return (ours_predicts(binary, model, lora, values | {k: v.float() for k, v in (added_cond_kwargs or {}).items()}, work),)

    unet.forward = asked
    ours = draw()
    unet.forward = forward
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def adapters(unet, targets, rank, alpha):
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets))
    g = torch.Generator().manual_seed(9)
    for key, p in unet.named_parameters():
        if "lora_" in key:
            p.data = torch.randn(p.shape, generator=g) * 0.3 / p[0].numel() ** 0.5
    return get_peft_model_state_dict(unet), unet.peft_config["default"].to_dict()


def family(binary, name, work):
    print(f"{name}: small, random weights, scale {SCALE}")
    model = work / "model"
    pipe = pipeline(name, model)
    kind = type(pipe)
    base = {k: v.clone() for k, v in pipe.unet.state_dict().items()}
    bases = {"unet": base} | {part: plain(encoder) for part, encoder in encoders(pipe).items()}

    print("  ours, read by diffusers")
    step = train(binary, model, work)
    (main,) = step.glob("*.safetensors")
    run(binary, "lora", "merge", step, "--model", model, "--to", work / "merged", "--scale", SCALE)
    for what, place, file in (("kohya", step, main.name), ("PEFT", step / "diffusers", "pytorch_lora_weights.safetensors")):
        pipe = fresh(kind, model)
        pipe.load_lora_weights(place, weight_name=file)
        pipe.set_adapters(pipe.get_active_adapters(), [SCALE])
        values = inputs(pipe.unet)
        told(f"{what}: prediction of the adapted U-Net", relative(ours_predicts(binary, model, place / file, values, work), predict(pipe.unet, values)))
        if what == "kohya":
            told(f"{what}: picture, 4 steps, every prediction ours", picture(binary, pipe, model, place / file, work))
        pipe = fresh(kind, model)
        pipe.load_lora_weights(place, weight_name=file)
        compare(f"{what}: weights after fuse_lora and lora merge", fused(pipe.unet), work / "merged", base)

    print("  theirs, read by us")
    for what, targets, rank, alpha in (("attention", ATTENTION, 4, 6), ("everything", EVERYTHING, 3, 8)):
        pipe = fresh(kind, model)
        lora, config = adapters(pipe.unet, targets, rank, alpha)
        kind.save_lora_weights(work / what, unet_lora_layers=lora, unet_lora_adapter_metadata=config)
        theirs = fused(pipe.unet)
        run(binary, "lora", "merge", work / what, "--model", model, "--to", work / f"merged-{what}", "--scale", SCALE)
        compare(f"{what}: save_lora_weights, lora merge", theirs, work / f"merged-{what}", base)
        run(binary, "lora", "convert", work / what, "--to", work / f"{what}.safetensors", "--format", "kohya")
        pipe = fresh(kind, model)
        pipe.load_lora_weights(work, weight_name=f"{what}.safetensors")
        again = fused(pipe.unet)
        told(f"{what}: converted to kohya, read by diffusers", max(relative(again[k], theirs[k]) for k in theirs))
    run(binary, "lora", "unmerge", step, "--model", work / "merged", "--to", work / "back", "--scale", SCALE)
    back = load_file(work / "back/unet/diffusion_pytorch_model.safetensors")
    told("lora unmerge brings the base back", max(relative(back[k], base[k]) for k in base))
    with_text_encoders(binary, kind, model, work, bases)
    with_word(binary, kind, model, work)


def full(binary, work):
    print(f"sd15: true size, random weights, scale {SCALE}")
    torch.manual_seed(1)
    down = (CROSS, CROSS, CROSS, PLAIN)
    with torch.no_grad():
        unet = UNet2DConditionModel(**blocks(down, block_out_channels=(320, 640, 1280, 1280), attention_head_dim=8, cross_attention_dim=768)).eval()
    unet.save_pretrained(work / "unet")
    lora, config = adapters(unet, ATTENTION, 32, 32)
    StableDiffusionPipeline.save_lora_weights(work / "peft", unet_lora_layers=lora, unet_lora_adapter_metadata=config)
    print("  " + run(binary, "lora", "info", work / "peft").replace("\n", "\n  ").split("format =")[0].rstrip())
    run(binary, "lora", "convert", work / "peft", "--to", work / "kohya.safetensors", "--format", "kohya")
    run(binary, "lora", "merge", work / "kohya.safetensors", "--model", work / "unet", "--to", work / "merged", "--scale", SCALE)
    unet.delete_adapters("default")
    state, alphas = StableDiffusionPipeline.lora_state_dict(work, weight_name="kohya.safetensors", unet_config=unet.config)
    StableDiffusionPipeline.load_lora_into_unet(state, alphas, unet)
    theirs = fused(unet)
    base, ours = (load_file(work / f"{d}/diffusion_pytorch_model.safetensors") for d in ("unet", "merged"))
    changed = sum(not torch.equal(theirs[k], base[k]) for k in base)
    told("weights after fuse_lora and lora merge", max(relative(ours[k], theirs[k]) for k in ours), f"{changed} of {len(base)} weights changed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--full", action="store_true")
    args = parser.parse_args()
    for name in ["sd15"] if args.full else args.family:
        work = Path(tempfile.mkdtemp(prefix="rpo-lora-"))
        try:
            full(args.binary, work) if args.full else family(args.binary.resolve(), name, work)
        finally:
            shutil.rmtree(work)
    if failures:
        sys.exit(f"above {LIMIT:g}: " + ", ".join(failures))


if __name__ == "__main__":
    main()
