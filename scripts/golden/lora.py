"""Golden values for LoRA, computed by PyTorch, peft and diffusers in f32, gradients in f64.

Made with torch 2.15.0, diffusers 0.42.1, peft 0.21.2, safetensors 0.8.
Run from the repository root: `python scripts/golden/lora.py`.

Writes to crates/rpo-diffusion/tests/golden/lora:
  conv.safetensors, linear.safetensors
      real peft adapters on the U-Nets of tiny_conv and tiny_linear (scripts/golden/diffusion.py): A and B (exact in f16),
      the output, the gradient of every A and B of the same training step, some weights after fuse_lora
  conv.{peft,script,old,kohya}.safetensors
      the adapters of `conv` in files: as StableDiffusionPipeline.save_lora_weights writes them, in the two older names of
      diffusers, and in kohya's; f16, bf16 or f32
  {sd,xl}.peft.safetensors
      adapters on the U-Net and the text encoders of scripts/golden/text_gradients.py's pipelines, each with a rank and an alpha of its
      own, as save_lora_weights writes them; f16
  texts.safetensors
      what these pipelines make of TEXTS with the adapters at a scale of 0.5: MODEL.hidden, xl.pooled; and after fuse_lora at that scale
      MODEL.ENCODER.MODULE, one weight of each encoder
  keys.json
      at true size, from names alone (torch's meta device): every linear layer and convolution of SD 1.5, SD 2.1 and SDXL with
      its shape; the names that sd-scripts gives SDXL's modules, from the numbering of the released checkpoint, each checked
      to be read as that module by diffusers' own conversion
"""

import json
import re
import sys
from pathlib import Path

import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.loaders.lora_conversion_utils import (
    _convert_non_diffusers_lora_to_diffusers,
    _maybe_map_sgm_blocks_to_diffusers,
)
from diffusers.utils.state_dict_utils import convert_state_dict_to_kohya, convert_unet_state_dict_to_peft
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

sys.path.insert(0, "scripts/golden")
from diffusion import training_step  # noqa: E402

GOLDEN = Path("crates/rpo-diffusion/tests/golden")
OUT = GOLDEN / "lora"
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
EVERYTHING = ATTENTION + ["proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2", "conv_shortcut", "time_emb_proj", "conv"]
# fuse_lora is compared on one of each kind: linear, 1x1 or linear projection, 3x3, 3x3 with stride 2.
FUSED = [
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_k",
    "mid_block.attentions.0.proj_in",
    "mid_block.resnets.0.conv1",
    "down_blocks.0.downsamplers.0.conv",
]


def save(path, tensors, metadata=None):
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, path, metadata=metadata)


def adapted(name, config, prediction_type, seed):
    """The tiny U-Net with adapters whose B is not 0, its golden step, and both as they are stored."""
    golden = load_file(GOLDEN / f"tiny_{name}.safetensors")
    unet = UNet2DConditionModel.from_config(json.loads((GOLDEN / f"tiny_{name}.json").read_text())).eval()
    unet.load_state_dict({k.removeprefix("weight."): v.float() for k, v in golden.items() if k.startswith("weight.")})
    unet.add_adapter(config)
    g = torch.Generator().manual_seed(seed)
    for key, p in unet.named_parameters():
        p.requires_grad_("lora_" in key)
        if "lora_" in key:
            p.data = (torch.randn(p.shape, generator=g) * 0.5 / p[0].numel() ** 0.5).half().float()
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction_type)
    step = training_step(unet, golden["x0"], golden["noise"], golden["t"], golden["hidden"], scheduler)
    # The gradients in f64: of tiny_linear PyTorch's own f32 ones are 6e-5 off.
    double = [golden[k].double() for k in ("x0", "noise")]
    training_step(unet.double(), *double, golden["t"], golden["hidden"].double(), scheduler)
    gradients = {k: p.grad.float() for k, p in unet.named_parameters() if p.requires_grad}
    unet.float()
    plain = lambda key: key.replace(".default.", ".")  # noqa: E731
    lora = get_peft_model_state_dict(unet)
    tensors = {f"lora.{k}": v.half() for k, v in lora.items()}
    tensors |= {f"grad.{plain(k)}": v for k, v in gradients.items()}
    tensors |= {k: step[k] for k in ("out", "loss")}
    with torch.no_grad():
        unet.fuse_lora(lora_scale=0.5)
        x_t = step["x_t"]
        tensors["out_half"] = unet(x_t, golden["t"], golden["hidden"]).sample
    modules = dict(unet.named_modules())
    tensors |= {f"fused.{m}": modules[m].base_layer.weight for m in FUSED}
    save(OUT / f"{name}.safetensors", tensors)
    return lora, unet.peft_config["default"]


def files(lora, config):
    """The same adapters as programs write them."""
    half = {k: v.half() for k, v in lora.items()}
    StableDiffusionPipeline.save_lora_weights(
        OUT, unet_lora_layers=half, weight_name="conv.peft.safetensors", unet_lora_adapter_metadata=config.to_dict()
    )
    script = {f"unet.{k.replace('lora_A', 'lora.down').replace('lora_B', 'lora.up')}": v.bfloat16() for k, v in lora.items()}
    save(OUT / "conv.script.safetensors", script, {"format": "pt"})
    old = {}
    for key, v in half.items():
        if m := re.fullmatch(r"(.*\.attn[12])\.(to_[qkv]|to_out)(?:\.0)?\.lora_([AB])\.weight", key):
            old[f"unet.{m[1]}.processor.{m[2]}_lora.{'down' if m[3] == 'A' else 'up'}.weight"] = v
    assert set(convert_unet_state_dict_to_peft({k.removeprefix("unet."): v for k, v in old.items()})) <= set(half)
    save(OUT / "conv.old.safetensors", old, {"format": "pt"})
    kohya = convert_state_dict_to_kohya({f"unet.{k}": v for k, v in lora.items()})
    kohya = {k: torch.tensor(float(config.lora_alpha)) if k.endswith(".alpha") else v for k, v in kohya.items()}
    # A text encoder's part, as trainers that train it add: it must be named, not lost and not taken for the U-Net's.
    te = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    kohya |= {f"{te}.lora_down.weight": torch.zeros(2, 4), f"{te}.lora_up.weight": torch.zeros(4, 2), f"{te}.alpha": torch.tensor(2.0)}
    save(OUT / "conv.kohya.safetensors", kohya, {"ss_network_dim": "2"})


TEXTS = ["a red apple", "two lions in the snow", ""]


def texts():
    """Adapters on text encoders, and what they do."""
    expected = {}
    for name, kind in (("sd", StableDiffusionPipeline), ("xl", StableDiffusionXLPipeline)):
        pipe = kind.from_pretrained(GOLDEN / "text_gradients" / name, torch_dtype=torch.float32)
        parts = [p for p in ("unet", "text_encoder", "text_encoder_2") if getattr(pipe, p, None) is not None]
        arguments = {}
        for i, part in enumerate(parts):
            network = getattr(pipe, part)
            targets = ["to_q"] if part == "unet" else ["q_proj", "out_proj", "fc1"]
            network.add_adapter(LoraConfig(r=2 + i, lora_alpha=3 + i, target_modules=targets))
            g = torch.Generator().manual_seed(40 + i)
            for key, p in network.named_parameters():
                if "lora_" in key:
                    p.data = (torch.randn(p.shape, generator=g) * 0.5 / p[0].numel() ** 0.5).half().float()
            arguments[f"{part}_lora_layers"] = {k: v.half() for k, v in get_peft_model_state_dict(network).items()}
            arguments[f"{part}_lora_adapter_metadata"] = network.peft_config["default"].to_dict()
        kind.save_lora_weights(OUT, weight_name=f"{name}.peft.safetensors", **arguments)
        pipe = kind.from_pretrained(GOLDEN / "text_gradients" / name, torch_dtype=torch.float32)
        pipe.load_lora_weights(OUT, weight_name=f"{name}.peft.safetensors")
        pipe.set_adapters(pipe.get_active_adapters(), [0.5])
        with torch.no_grad():
            encoded = pipe.encode_prompt(TEXTS, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
        expected[f"{name}.hidden"] = encoded[0]
        if name == "xl":
            expected["xl.pooled"] = encoded[2]
        # Its factor is on top of the adapters' own.
        pipe.set_adapters(pipe.get_active_adapters(), [1.0])
        pipe.fuse_lora(components=parts, lora_scale=0.5)
        for part in parts[1:]:
            module = dict(getattr(pipe, part).named_modules())
            inner = next(m for m in module if m.endswith("layers.1.mlp.fc1"))
            expected[f"{name}.{part}.layers.1.mlp.fc1"] = module[inner].base_layer.weight
    save(OUT / "texts.safetensors", expected)


SD = dict(
    block_out_channels=(320, 640, 1280, 1280),
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
)
ARCHITECTURES = {
    "sd15": dict(SD, cross_attention_dim=768, attention_head_dim=8),
    "sd21": dict(SD, cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True),
    "sdxl": dict(
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=2048,
        attention_head_dim=(5, 10, 20),
        transformer_layers_per_block=(1, 2, 10),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    ),
}


def sdxl_names():
    """Modules of SDXL's checkpoint by diffusers name, from the layout of its `input_blocks` and `output_blocks`."""
    found = {"conv_in": "input_blocks.0.0", "conv_out": "out.2", "time_embedding.linear_1": "time_embed.0",
             "time_embedding.linear_2": "time_embed.2", "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}
    block = 1
    depths = [0, 2, 10]
    places = {}
    for level in range(3):
        for j in range(2):
            places[f"down_blocks.{level}.resnets.{j}"] = (f"input_blocks.{block}.0", None)
            places[f"down_blocks.{level}.attentions.{j}"] = (f"input_blocks.{block}.1", depths[level])
            block += 1
        if level < 2:
            found[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{block}.0.op"
            block += 1
    places |= {"mid_block.resnets.0": ("middle_block.0", None), "mid_block.attentions.0": ("middle_block.1", 10),
               "mid_block.resnets.1": ("middle_block.2", None)}
    block = 0
    for i, level in enumerate((2, 1, 0)):
        for j in range(3):
            places[f"up_blocks.{i}.resnets.{j}"] = (f"output_blocks.{block}.0", None)
            places[f"up_blocks.{i}.attentions.{j}"] = (f"output_blocks.{block}.1", depths[level])
            if j == 2 and i < 2:
                found[f"up_blocks.{i}.upsamplers.0.conv"] = f"output_blocks.{block}.2.conv"
            block += 1
    for module, (place, depth) in places.items():
        if depth is None:
            inner = {"conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
            found |= {f"{module}.{a}": f"{place}.{b}" for a, b in inner.items()}
        else:
            found |= {f"{module}.{p}": f"{place}.{p}" for p in ("proj_in", "proj_out")}
            parts = [f"attn{n}.{p}" for n in (1, 2) for p in ATTENTION] + ["ff.net.0.proj", "ff.net.2"]
            for d in range(depth):
                found |= {f"{module}.transformer_blocks.{d}.{p}": f"{place}.transformer_blocks.{d}.{p}" for p in parts}
    return found


def keys():
    out = {}
    for name, config in ARCHITECTURES.items():
        with torch.device("meta"):
            unet = UNet2DConditionModel(**config)
        layers = {n: m for n, m in unet.named_modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))}
        attention = [n for n in layers if any(n.endswith(f".{t}") for t in ATTENTION)]
        # SDXL's ten blocks of one transformer differ in a number alone: the first and the last stand for all.
        told = [n for n in layers if not re.search(r"transformer_blocks\.[1-8]\.", n)]
        out[name] = {"attention": len(attention), "layers": len(layers), "shapes": {n: list(layers[n].weight.shape) for n in told}}
        if name == "sdxl":
            names = {n: f"lora_unet_{p.replace('.', '_')}" for n, p in sdxl_names().items() if n in layers}
            assert set(names) == set(layers), set(layers) - set(names)
            for module, key in names.items():
                state = {f"{key}.lora_down.weight": torch.zeros(1), f"{key}.lora_up.weight": torch.zeros(1), f"{key}.alpha": torch.tensor(1.0)}
                read, _ = _convert_non_diffusers_lora_to_diffusers(_maybe_map_sgm_blocks_to_diffusers(state, unet.config))
                read = convert_unet_state_dict_to_peft({k.removeprefix("unet."): v for k, v in read.items()})
                if not module.startswith(("time_embedding", "add_embedding")):
                    assert set(read) == {f"{module}.lora_A.weight", f"{module}.lora_B.weight"}, (module, key, list(read))
            out[name]["kohya"] = {n: names[n] for n in told}
    (OUT / "keys.json").write_text(json.dumps(out, indent=0) + "\n")


def main():
    OUT.mkdir(exist_ok=True)
    config = LoraConfig(r=2, lora_alpha=3, target_modules=EVERYTHING)
    files(*adapted("conv", config, "epsilon", 21))
    adapted("linear", LoraConfig(r=2, lora_alpha=5, target_modules=EVERYTHING), "v_prediction", 22)
    texts()
    keys()


if __name__ == "__main__":
    main()
