"""Custom Diffusion's file between `rpo-train` and diffusers: keys and values of the text, trained alone, on the embedded model.

    python scripts/parity/custom_diffusion.py target/debug/rpo-train

`rpo-train` trains the keys and values for a few steps. The tensors of its file, put into diffusers' U-Net under their own names, must
be those of `rpo-train export`, and diffusers' prediction that of `rpo-train forward` on the exported model (relative L2 at most 1e-5).
Also says what diffusers' own loader for such files does with it: in 0.42 it raises no error and changes nothing.

Made with torch 2.15.0, diffusers 0.42.1, safetensors 0.8.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import diffusers
import torch
from diffusers import UNet2DConditionModel
from lora import MICRO, SHORT, relative, run
from safetensors.torch import load_file, save_file

FILE = "pytorch_custom_diffusion_weights.safetensors"
EXPERIMENT = """
name = "kv"
output = "{work}/runs"
[subjects]
count = 1
[train]
parts = ["cross_attention"]
[rules]
last = true
{short}"""


def unet(folder):
    return UNet2DConditionModel.from_pretrained(folder, torch_dtype=torch.float32).eval()


def predict(model, values):
    with torch.no_grad():
        return model(values["sample"], values["timestep"], values["encoder_hidden_states"]).sample


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    binary = parser.parse_args().binary.resolve()
    diffusers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        (work / "kv.toml").write_text(EXPERIMENT.format(work=work, short=SHORT))
        run(binary, work / "kv.toml", "--out", work / "run")
        run(binary, "export", work / "run", "--step", "3", "--to", work / "whole")
        (place,) = (work / "run").glob("trajectories/*/*/seed-0/custom_diffusion/step-000003")
        file = load_file(place / FILE)

        model = unet(MICRO / "unet")
        g = torch.Generator().manual_seed(3)
        c = model.config
        values = {"sample": torch.randn(2, c.in_channels, 8, 8, generator=g), "timestep": torch.tensor([981, 21]),
                  "encoder_hidden_states": torch.randn(2, 7, c.cross_attention_dim, generator=g)}
        base = predict(model, values)

        own = unet(MICRO / "unet")
        try:
            own.load_attn_procs(place, weight_name=FILE)
            told = f"no error, the prediction moves by {relative(predict(own, values), base):.1e}"
        except Exception as e:  # noqa: BLE001
            told = f"{type(e).__name__}: {e}"
        print(f"diffusers {diffusers.__version__}, unet.load_attn_procs: {told}")

        names = {k.replace(".processor.to_k_custom_diffusion", ".to_k").replace(".processor.to_v_custom_diffusion", ".to_v"): v
                 for k, v in file.items()}
        missing = model.load_state_dict(names, strict=False)
        assert not missing.unexpected_keys, missing.unexpected_keys
        exported = unet(work / "whole/unet").state_dict()
        worst = max(relative(exported[k], v) for k, v in model.state_dict().items())
        save_file({k: v.contiguous() for k, v in values.items()}, work / "in.safetensors")
        run(binary, "forward", "--model", work / "whole", "--part", "unet", "--inputs", work / "in.safetensors",
            "--output", work / "out.safetensors")
        ours, theirs = load_file(work / "out.safetensors")["sample"], predict(model, values)
        error, moved = relative(ours, theirs), relative(theirs, base)
        print(f"{len(file)} tensors; exported against merged {worst:.1e}; prediction {error:.1e}, moved by the training {moved:.1e}")
        if worst > 0 or error > 1e-5 or moved < 1e-3:
            sys.exit("FAIL")
        print("PASS")


if __name__ == "__main__":
    main()
