"""ALIGN, CLIP and DINO at their true sizes against transformers, from the same picture files and texts.

    cargo build && python scripts/parity/encoders.py target/debug/rpo-train [--keep DIR] [--only NAME …]

For every encoder: its folder with random weights (`encoder_folders.py`), picture files of every kind
(`picture_files.py`), embeddings by transformers with its Pillow processors and by `rpo-train forward`; then, for
information, with the torchvision processors that transformers 5 takes where torchvision is installed. Printed are the
largest 1 - cosine and the largest difference relative to the largest value of the row; exit code 1 if a cosine is below
0.9999. Needs 6 GB of memory and 3 GB of disk.

Made with torch 2.15, torchvision 0.29, transformers 5.23, Pillow 12.1, Python 3.11.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AlignModel, BertTokenizer, CLIPModel, CLIPTokenizer, ViTModel
from transformers.models.clip.image_processing_clip import CLIPImageProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.efficientnet.image_processing_efficientnet import EfficientNetImageProcessor
from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from transformers.models.vit.image_processing_vit import ViTImageProcessor

import encoder_folders
import picture_files

LIMIT = 1e-4
TEXTS = [
    "a photo of a dog",
    "a [V] backpack on the Moon",
    "A Photo, of a Red Car; wearing a top-hat (2nd edition)",
    "caf\u00e9 na\u00efve \U0001f436 \u72ac",
    "",
    "it's what they've said: " + "an endless description of a teapot on a wooden floor " * 12,
]
PARTS = {
    "align": ("align", AlignModel, BertTokenizer, EfficientNetImageProcessorPil, EfficientNetImageProcessor),
    "clip": ("clip", CLIPModel, CLIPTokenizer, CLIPImageProcessorPil, CLIPImageProcessor),
    "dino": ("vit", ViTModel, None, ViTImageProcessorPil, ViTImageProcessor),
}


def unit(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(x.double(), dim=-1)


def config(folder: Path) -> dict:
    """The keys of the file for the class's constructor; the old names of the class are no arguments."""
    content = json.loads((folder / "preprocessor_config.json").read_text())
    for key in ("feature_extractor_type", "image_processor_type", "processor_class"):
        content.pop(key, None)
    return content


@torch.no_grad()
def features(model: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    if isinstance(model, ViTModel):
        return model(pixel_values=pixels).last_hidden_state[:, 0]
    return model.get_image_features(pixel_values=pixels).pooler_output


def report(what: str, names: list[str], got: torch.Tensor, want: torch.Tensor) -> float:
    angles = 1.0 - (unit(got) * unit(want)).sum(-1)
    relative = (got - want).abs().amax(-1) / want.abs().amax(-1)
    worst = int(angles.argmax())
    between = 1.0 - (unit(want) @ unit(want).T)
    spread = between[~torch.eye(len(want), dtype=torch.bool)].median() if len(want) > 1 else float("nan")
    print(
        f"  {what:34} 1 - cos: max {float(angles.max()):.1e} ({names[worst]}), median {float(angles.median()):.1e}; "
        f"relative difference {float(relative.max()):.1e}; between two of them 1 - cos is {float(spread):.1e}",
        flush=True,
    )
    return float(angles.max())


def group(names: list[str], kind: str) -> list[int]:
    return [i for i, name in enumerate(names) if name.endswith(".jpg") == (kind == "JPEG")]


@torch.no_grad()
def compare(binary: Path, name: str, folder: Path, pictures: list[Path]) -> float:
    part, kind, tokenizer, pil, fast = PARTS[name.split("-")[0]]
    names = [path.name for path in pictures]
    out = folder / "out.safetensors"
    command = [binary, "forward", "--model", folder, "--part", part, "--output", out]
    for path in pictures:
        command += ["--picture", path]
    if tokenizer:
        for text in TEXTS:
            command += ["--text", text]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    ours = load_file(out)
    model = kind.from_pretrained(folder, dtype=torch.float32).eval()
    opened = [picture_files.load(path) for path in pictures]
    print(f"{name} (random weights)")
    worst = 0.0
    for title, processor in (("Pillow processor", pil(**config(folder))), ("torchvision processor", fast(**config(folder)))):
        rows = [features(model, processor([p], return_tensors="pt").pixel_values) for p in opened]
        want = torch.cat(rows)
        for sort in ("PNG, WebP, …", "JPEG"):
            rows = group(names, sort)
            value = report(f"{title}, {sort}", [names[i] for i in rows], ours["image_embeds"][rows], unit(want[rows]).float())
            worst = max(worst, value if processor.__class__ is pil else 0.0)
    if tokenizer:
        tokens = tokenizer.from_pretrained(folder)
        query = tokens(TEXTS, padding="max_length", truncation=True, return_tensors="pt")
        want = model.get_text_features(**query).pooler_output
        labels = [text[:20] for text in TEXTS]
        worst = max(worst, report("texts", labels, ours["text_embeds"], unit(want).float()))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for the encoders, built where they are missing")
    parser.add_argument("--only", nargs="*", default=encoder_folders.NAMES, choices=encoder_folders.NAMES)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        pictures = picture_files.write(Path(temporary) / "pictures")
        print(f"{len(pictures)} pictures, {len(TEXTS)} texts", flush=True)
        worst = 0.0
        for name in args.only:
            folder = (args.keep or Path(temporary)) / name
            if not (folder / "model.safetensors").exists():
                encoder_folders.build(name, folder)
            worst = max(worst, compare(args.binary.resolve(), name, folder, pictures))
    print(f"largest 1 - cosine with the Pillow processors: {worst:.1e}, limit {LIMIT:.0e}")
    sys.exit(worst > LIMIT)


if __name__ == "__main__":
    main()
