"""A folder of Stable Diffusion 1.5's shapes with random weights: what programs need for figures of time and memory.

    python scripts/cuda/sd15.py DIR

U-Net and VAE have their true sizes (f16 files); the text encoder has its true width and one layer, the tokenizer is the embedded
model's. Needs torch, diffusers, safetensors.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file

MICRO = Path(__file__).resolve().parents[2] / "assets/micro"
WIDTH, VOCABULARY, POSITIONS = 768, 49408, 77


def text_encoder(folder):
    config = dict(architectures=["CLIPTextModel"], model_type="clip_text_model", hidden_act="quick_gelu", hidden_size=WIDTH,
                  intermediate_size=4 * WIDTH, layer_norm_eps=1e-5, max_position_embeddings=POSITIONS, num_attention_heads=12,
                  num_hidden_layers=1, projection_dim=WIDTH, vocab_size=VOCABULARY, bos_token_id=0, eos_token_id=2, pad_token_id=1)
    shapes = {"embeddings.token_embedding.weight": [VOCABULARY, WIDTH], "embeddings.position_embedding.weight": [POSITIONS, WIDTH]}
    layer = "encoder.layers.0."
    for name in ["q_proj", "k_proj", "v_proj", "out_proj"]:
        shapes |= {f"{layer}self_attn.{name}.weight": [WIDTH, WIDTH], f"{layer}self_attn.{name}.bias": [WIDTH]}
    shapes |= {f"{layer}mlp.fc1.weight": [4 * WIDTH, WIDTH], f"{layer}mlp.fc1.bias": [4 * WIDTH]}
    shapes |= {f"{layer}mlp.fc2.weight": [WIDTH, 4 * WIDTH], f"{layer}mlp.fc2.bias": [WIDTH]}
    for name in [f"{layer}layer_norm1", f"{layer}layer_norm2", "final_layer_norm"]:
        shapes |= {f"{name}.weight": [WIDTH], f"{name}.bias": [WIDTH]}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    weights = {f"text_model.{name}": 0.02 * torch.randn(shape).half() for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def make(whole):
    """Under another name until it is whole."""
    torch.manual_seed(0)
    folder = whole.with_name(whole.name + ".part")
    for old in [folder, whole]:
        shutil.rmtree(old, ignore_errors=True)
    folder.mkdir(parents=True)
    UNet2DConditionModel(sample_size=64, cross_attention_dim=WIDTH, attention_head_dim=8).half().save_pretrained(folder / "unet")
    blocks = dict(down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4, block_out_channels=[128, 256, 512, 512])
    AutoencoderKL(**blocks, layers_per_block=2, latent_channels=4, sample_size=512).half().save_pretrained(folder / "vae")
    text_encoder(folder / "text_encoder")
    for part in ["tokenizer", "scheduler"]:
        shutil.copytree(MICRO / part, folder / part)
    shutil.copy(MICRO / "model_index.json", folder)
    folder.rename(whole)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
