"""Textual inversion between `rpo-train` and diffusers: learned words, alone and beside keys and values, on the embedded model.

    python scripts/parity/textual_inversion.py target/debug/rpo-train

`rpo-train` learns a word of two vectors for a few steps. diffusers' `load_textual_inversion` reads its file without further arguments; the
states of its text encoder must be those of `rpo-train forward --part text --embedding`, and the predictions of diffusers' U-Net, exported
by `rpo-train`, under both states equal (relative L2 at most 1e-5). The same for a file as A1111 and ComfyUI name it (`emb_params`), made
of the first one, and for SDXL's `clip_l` and `clip_g` on a tiny random pipeline.

Made with torch 2.15.0, transformers 5.23.0, diffusers 0.42.1, safetensors 0.8.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import diffusers
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from lora import MICRO, SHORT, relative, run
from safetensors.torch import load_file, save_file

FILE = "learned_embeds.safetensors"
XL = Path(__file__).resolve().parents[2] / "crates/rpo-diffusion/tests/golden/text_gradients/xl"
EXPERIMENT = """
name = "words"
output = "{work}/runs"
[subjects]
count = 1
[token]
vectors = 2
[rules]
last = true
{short}[[arm]]
name = "word"
train = {{ parts = ["token"] }}
[[arm]]
name = "custom"
train = {{ parts = ["token", "cross_attention"] }}
"""
PROMPTS = ["a [v] lion in the snow", "a red apple", "a [v] [v]"]


def states(pipeline, prompts):
    with torch.no_grad():
        return pipeline.encode_prompt(prompts, "cpu", 1, False)


def ours(binary, model, embedding, prompts, work):
    texts = [argument for prompt in prompts for argument in ("--text", prompt)]
    run(binary, "forward", "--model", model, "--part", "text", "--embedding", embedding, *texts, "--output", work / "states.safetensors")
    return load_file(work / "states.safetensors")


def predict(model, text):
    g = torch.Generator().manual_seed(3)
    sample = torch.randn(len(text), model.config.in_channels, 8, 8, generator=g)
    with torch.no_grad():
        return model(sample, torch.tensor([981, 21, 500][: len(text)]), text).sample


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    binary = parser.parse_args().binary.resolve()
    diffusers.utils.logging.set_verbosity_error()
    failed = []

    def held(what, error, limit=1e-5):
        print(f"{what}: {error:.1e}")
        if not error <= limit:
            failed.append(what)

    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        (work / "words.toml").write_text(EXPERIMENT.format(work=work, short=SHORT))
        run(binary, work / "words.toml", "--out", work / "run")
        for arm, folder in [("word", "textual_inversion"), ("custom", "custom_diffusion")]:
            (place,) = (work / "run").glob(f"trajectories/{arm}/*/seed-0/{folder}/step-000003")
            trajectory = "/".join(place.parts[-5:-2])
            run(binary, "export", work / "run", "--trajectory", trajectory, "--step", "3", "--to", work / arm)
            assert load_file(place / FILE).keys() == {"[v]"}
            pipeline = StableDiffusionPipeline.from_pretrained(MICRO, safety_checker=None, torch_dtype=torch.float32)
            unread = states(pipeline, PROMPTS)[0]
            pipeline.load_textual_inversion(work / arm / FILE)
            theirs = states(pipeline, PROMPTS)[0]
            own = ours(binary, MICRO, place / FILE, PROMPTS, work)["encoder_hidden_states"]
            held(f"{arm}: states", relative(own, theirs))
            unet = UNet2DConditionModel.from_pretrained(work / arm / "unet", torch_dtype=torch.float32).eval()
            held(f"{arm}: predictions", relative(predict(unet, own), predict(unet, theirs)))
            moved = relative(theirs[0], unread[0])
            print(f"{arm}: the word moves its prompt's states by {moved:.2f}")
            if moved < 1e-2 or relative(theirs[1], unread[1]) > 0:
                failed.append(f"{arm}: moved")
        other = work / "corgi.safetensors"
        save_file({"emb_params": load_file(place / FILE)["[v]"]}, other)
        prompts = [prompt.replace("[v]", "corgi") for prompt in PROMPTS]
        pipeline = StableDiffusionPipeline.from_pretrained(MICRO, safety_checker=None, torch_dtype=torch.float32)
        pipeline.load_textual_inversion({"corgi": load_file(other)["emb_params"]}, token="corgi")
        own = ours(binary, MICRO, other, prompts, work)["encoder_hidden_states"]
        held("emb_params: states", relative(own, states(pipeline, prompts)[0]))

        pipeline = StableDiffusionXLPipeline.from_pretrained(XL, torch_dtype=torch.float32)
        g = torch.Generator().manual_seed(5)
        widths = [e.config.hidden_size for e in (pipeline.text_encoder, pipeline.text_encoder_2)]
        rows = {name: torch.randn(2, width, generator=g) for name, width in zip(["clip_l", "clip_g"], widths)}
        save_file(rows, work / "toy.safetensors", metadata={"rpo.token": "<toy>"})
        for name, encoder, tokenizer in [("clip_l", pipeline.text_encoder, pipeline.tokenizer),
                                         ("clip_g", pipeline.text_encoder_2, pipeline.tokenizer_2)]:
            pipeline.load_textual_inversion({"<toy>": rows[name]}, token="<toy>", text_encoder=encoder, tokenizer=tokenizer)
        prompts = [prompt.replace("[v]", "<toy>") for prompt in PROMPTS]
        with torch.no_grad():
            theirs, _, pooled, _ = pipeline.encode_prompt(prompts, None, "cpu", 1, False)
        own = ours(binary, XL, work / "toy.safetensors", prompts, work)
        held("SDXL: states", relative(own["encoder_hidden_states"], theirs))
        held("SDXL: pooled", relative(own["text_embeds"], pooled))
    if failed:
        sys.exit(f"FAIL: {', '.join(failed)}")
    print("PASS")


if __name__ == "__main__":
    main()
