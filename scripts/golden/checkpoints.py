"""Names and shapes of every tensor of Stable Diffusion 1.5, 2.1 and XL, in a diffusers folder and in a single file.

Made with torch 2.15.0, diffusers 0.42.1, transformers 5.23.0. Run from the repository root: `python scripts/golden/checkpoints.py`.

Writes crates/rpo-diffusion/tests/golden/checkpoint_names.tsv.gz, one line per tensor of a file: part, name in the file, shape in the
file, names in the folder (three where query, key and value are fused), their shape. The networks are built at true size without
memory. The names in the file follow from the rules below; diffusers' own conversion of original checkpoints must lead each of
them, with a value that marks it, to the folder's name.
"""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as reference
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

OUT = Path("crates/rpo-diffusion/tests/golden/checkpoint_names.tsv.gz")
PRESETS = Path("experiments/presets")
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OUTER = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
OPEN_CLIP_OUTER = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
}


def swap(name, table):
    """The name with its beginning, up to a dot, replaced."""
    for ours, theirs in table.items():
        if name.startswith(ours + "."):
            return theirs + name.removeprefix(ours)
    raise KeyError(name)


def unet_name(name, config):
    layers = config.layers_per_block
    kind, _, rest = name.partition(".")
    if kind == "mid_block":
        part, i, rest = rest.split(".", 2)
        return f"middle_block.1.{rest}" if part == "attentions" else f"middle_block.{2 * int(i)}.{swap(rest, RESNET)}"
    if kind not in ("down_blocks", "up_blocks"):
        return swap(name, OUTER)
    i, part, j, rest = rest.split(".", 3)
    i, j = int(i), int(j)
    if kind == "down_blocks":
        n = 1 + i * (layers + 1) + (layers if part == "downsamplers" else j)
        inner = {"resnets": "0.", "attentions": "1.", "downsamplers": "0."}[part]
        place = f"input_blocks.{n}."
    else:
        n = i * (layers + 1) + (layers if part == "upsamplers" else j)
        after = 2 if "CrossAttn" in config.up_block_types[i] else 1
        inner = {"resnets": "0.", "attentions": "1.", "upsamplers": f"{after}."}[part]
        place = f"output_blocks.{n}."
    if part == "resnets":
        rest = swap(rest, RESNET)
    if part == "downsamplers":
        rest = rest.replace("conv.", "op.")
    return place + inner + rest


def vae_name(name, config):
    if name.startswith(("quant_conv", "post_quant_conv")):
        return name
    coder, kind, rest = name.split(".", 2)
    if kind in ("conv_in", "conv_out"):
        return name
    if kind == "conv_norm_out":
        return f"{coder}.norm_out.{rest}"
    if kind == "mid_block":
        part, i, rest = rest.split(".", 2)
        if part == "attentions":
            return f"{coder}.mid.attn_1.{swap(rest, VAE_ATTENTION)}"
        return f"{coder}.mid.block_{int(i) + 1}.{rest}"
    i, part, j, rest = rest.split(".", 3)
    last = len(config.block_out_channels) - 1
    place = f"{coder}.down.{i}" if kind == "down_blocks" else f"{coder}.up.{last - int(i)}"
    if part == "resnets":
        return f"{place}.block.{j}.{rest.replace('conv_shortcut', 'nin_shortcut')}"
    return f"{place}.{part.removesuffix('rs').removesuffix('e') + 'e'}.{rest}"


def open_clip_name(name):
    """The name, and which third of it."""
    if name in OPEN_CLIP_OUTER:
        return OPEN_CLIP_OUTER[name], None
    i, rest = name.removeprefix("encoder.layers.").split(".", 1)
    place = f"transformer.resblocks.{i}."
    for third, qkv in enumerate(["q_proj", "k_proj", "v_proj"]):
        if rest.startswith(f"self_attn.{qkv}."):
            return f"{place}attn.in_proj_{rest.rsplit('.', 1)[1]}", third
    return place + swap(rest, OPEN_CLIP), None


def shapes(network):
    return {name: list(tensor.shape) for name, tensor in network.state_dict().items()}


def bare(names):
    return {name.removeprefix("text_model."): shape for name, shape in names.items() if not name.endswith("position_ids")}


def unet(path):
    with torch.device("meta"):
        network = UNet2DConditionModel.from_config(json.loads((PRESETS / path).read_text()))
    folder = shapes(network)
    rows = [(unet_name(name, network.config), shape, [name], shape) for name, shape in folder.items()]
    marks = {"model.diffusion_model." + row[0]: torch.full((1, 1), float(i)) for i, row in enumerate(rows)}
    back = reference.convert_ldm_unet_checkpoint(dict(marks), network.config)
    assert {name: int(t) for name, t in back.items()} == {row[2][0]: i for i, row in enumerate(rows)}
    return rows


def vae():
    with torch.device("meta"):
        network = AutoencoderKL(
            block_out_channels=[128, 256, 512, 512],
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
            layers_per_block=2,
        )
    rows = []
    for name, shape in shapes(network).items():
        theirs = vae_name(name, network.config)
        kernel = ".attn_1." in theirs and len(shape) == 2
        rows.append((theirs, shape + [1, 1] if kernel else shape, [name], shape))
    marks = {"first_stage_model." + row[0]: torch.full((1,) * len(row[1]), float(i)) for i, row in enumerate(rows)}
    back = reference.convert_ldm_vae_checkpoint(dict(marks), network.config)
    assert {name: int(t) for name, t in back.items()} == {row[2][0]: i for i, row in enumerate(rows)}
    for row in rows:
        assert back[row[2][0]].ndim == len(row[3]), row
    return rows


def clip(prefix):
    with torch.device("meta"):
        network = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12))
    rows = [("text_model." + name, shape, ["text_model." + name], shape) for name, shape in bare(shapes(network)).items()]
    marks = {prefix + row[0]: torch.full((1,), float(i)) for i, row in enumerate(rows)}
    back = reference.convert_ldm_clip_checkpoint(marks)
    assert {name: int(t) for name, t in back.items()} == {row[2][0]: i for i, row in enumerate(rows)}
    return rows


def open_clip(prefix, cls, width, heads, layers):
    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_attention_heads=heads,
        num_hidden_layers=layers,
        hidden_act="gelu",
        projection_dim=width,
    )
    with torch.device("meta"):
        folder = bare(shapes(cls(config)))
    fused = {}
    for name, shape in folder.items():
        theirs, third = open_clip_name(name)
        fused.setdefault(theirs, [None, None, None] if third is not None else [None])[third or 0] = (name, shape)
    rows, marks = [], {}
    for theirs, parts in fused.items():
        shape = parts[0][1]
        names = [name if name == "text_projection.weight" else "text_model." + name for name, _ in parts]
        for k, name in enumerate(names):
            marks.setdefault(prefix + theirs, []).append(float(len(rows) * 3 + k))
        rows.append((theirs, [3 * shape[0]] + shape[1:] if len(parts) == 3 else shape[::-1] if theirs == "text_projection" else shape, names, shape))
    # The width of these stand-ins is 1.
    file = {name: torch.tensor([values] if name.endswith("text_projection") else values).reshape(-1, *[1] * (not name.endswith("bias"))) for name, values in marks.items()}
    stub = SimpleNamespace(config=SimpleNamespace(hidden_size=1))
    back = reference.convert_open_clip_checkpoint(stub, file, prefix=prefix)
    want = {name: i * 3 + k for i, row in enumerate(rows) for k, name in enumerate(row[2])}
    assert {name: int(t) for name, t in back.items()} == want
    return rows


def main():
    parts = {
        "sd1/unet": unet("sd15.unet.json"),
        "sd2/unet": unet("sd21.unet.json"),
        "sdxl/unet": unet("sdxl.unet.json"),
        "vae": vae(),
        "sd1/text_encoder": clip("cond_stage_model.transformer."),
        "sd2/text_encoder": open_clip("cond_stage_model.model.", CLIPTextModel, 1024, 16, 23),
        "sdxl/text_encoder_2": open_clip("conditioner.embedders.1.model.", CLIPTextModelWithProjection, 1280, 20, 32),
    }
    lines = []
    for part, rows in parts.items():
        print(f"{part}: {len(rows)} tensors in the file, {sum(len(row[2]) for row in rows)} in the folder")
        for file, shape, names, each in sorted(rows):
            numbers = [",".join(map(str, s)) for s in (shape, each)]
            lines.append("\t".join([part, file, numbers[0], ",".join(names), numbers[1]]))
    OUT.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), 9, mtime=0))
    print(OUT, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
