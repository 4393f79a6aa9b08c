"""Writes a folder of a micro model in half precision: same layout, same file names.

    python export_f16.py FOLDER_F32 assets/micro/FOLDER

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
        else:
            shutil.copyfile(source, target)


if __name__ == "__main__":
    main()
