"""Writes a folder of micro models in half precision: same layout, same file names.

    python export_f16.py MICRO_F32 ASSETS_MICRO

Every floating-point tensor of every `*.safetensors` becomes float16 (a value that float16 cannot hold stops the
script), `dtype` in the configs follows, all other files are copied. The weights *are* the float16 values from then
on: readers raise them to float32, and so do the scripts that make reference values.

Made with torch 2.15, safetensors 0.8, Python 3.11 or later.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

README = """# The micro models

A Stable Diffusion pipeline of 7.4 M parameters for 64 x 64 pictures of stickers, and three encoders to judge its
pictures. Small enough to sample, fine-tune and score on two CPU cores; laid out exactly as diffusers and
transformers lay out the large models, so the same code reads both.

| folder | class | what it is |
|---|---|---|
| `unet`, `scheduler` | UNet2DConditionModel, DDIMScheduler | 6.08 M; channels 64-96-160, cross-attention 128, epsilon prediction |
| `vae` | AutoencoderKL | 0.65 M; 64 px to 16 x 16 x 4 |
| `text_encoder`, `tokenizer` | CLIPTextModel, CLIPTokenizer | 0.67 M; width 128, 3 layers, 24 tokens |
| `reward` | AlignModel | 0.62 M; EfficientNet + BERT, trained on pictures that no other model saw |
| `eval_clip` | CLIPModel | 1.53 M; ViT patch 8 + text tower, trained on a third set of pictures |
| `eval_dino` | ViTModel | 0.80 M; CLS token, contrastive on two views of one random subject: a stand-in for DINO, called ViT-I |

All encoders take RGB, 64 x 64, x / 127.5 - 1.

## How they were made
`scripts/micro/train_micro.py` draws captioned pictures (`scripts/micro/world.py`: a Twemoji sticker in a drawn
scene), trains every model from random weights and writes this layout in float32;
`scripts/micro/export_f16.py` rounds the weights to float16, which is what is kept here. Training used torch 2.15,
diffusers 0.42 and transformers 5.23, about two hours on two CPU cores: modest models, fit for tests and small experiments.

## Licence
The weights are this project's own: MIT OR Apache-2.0. They were trained on pictures drawn with Twemoji graphics,
Copyright Twitter, Inc and other contributors, CC-BY 4.0 (https://creativecommons.org/licenses/by/4.0/).
"""


def halve_tensors(source: Path, target: Path) -> None:
    with safe_open(source, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            tensors[name] = tensor.to(torch.float16)
            if not torch.isfinite(tensors[name]).all():
                raise SystemExit(f"{source}: {name} does not fit float16")
    save_file(tensors, target, metadata=metadata)


def halve_dtype(source: Path, target: Path) -> None:
    config = json.loads(source.read_text())
    if "dtype" in config:
        config["dtype"] = "float16"
    target.write_text(json.dumps(config, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    for source in sorted(path for path in arguments.source.rglob("*") if path.is_file()):
        target = arguments.target / source.relative_to(arguments.source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".safetensors":
            halve_tensors(source, target)
        elif source.name == "config.json":
            halve_dtype(source, target)
        elif source.name != "README.md":
            shutil.copyfile(source, target)
    (arguments.target / "README.md").write_text(README)


if __name__ == "__main__":
    main()
