"""Files of whole models against diffusers: single-file checkpoints and folders, bit for bit.

Made with torch 2.15.0, diffusers 0.42.1, transformers 5.23.0. Run from the repository root:
    python scripts/parity/files.py PROGRAM WORK [sd1 sd2 sdxl sd15-full]
PROGRAM is the built rpo-train, WORK a folder for what is written. sd1, sd2 and sdxl have every block of their family at small
size; sd15-full is Stable Diffusion 1.5 at true size. Weights are random. For each family diffusers saves a pipeline, and
  single   its from_single_file reads what `export --to FILE` wrote
  folder   its from_pretrained reads what `export --to FOLDER` wrote
  import   its from_pretrained reads what `import` made of the file
  sharded  the same from a folder that diffusers saved in shards
  variant  the same from a folder that diffusers saved as variant fp16
must give the pipeline's tensors.
"""

import gc
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import logging
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

TOKENIZER = "assets/micro/tokenizer"
DOWN = ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
UP = ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3


def text_encoder(cls, width, heads, layers, act="quick_gelu"):
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer) if width < 768 else 49408,
        hidden_size=width,
        intermediate_size=4 * width,
        num_attention_heads=heads,
        num_hidden_layers=layers,
        hidden_act=act,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return cls(config)


def vae(channels):
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=["DownEncoderBlock2D"] * len(channels),
        up_block_types=["UpDecoderBlock2D"] * len(channels),
        layers_per_block=2,
        norm_num_groups=min(32, channels[0]),
    )


def build(family):
    """A pipeline with random weights."""
    torch.manual_seed(7)
    common = {"tokenizer": CLIPTokenizer.from_pretrained(TOKENIZER), "scheduler": DDIMScheduler()}
    if family == "sdxl":
        unet = UNet2DConditionModel(
            block_out_channels=[8, 16, 32],
            down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            transformer_layers_per_block=[1, 2, 4],
            attention_head_dim=[1, 2, 4],
            use_linear_projection=True,
            cross_attention_dim=16 + 24,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24 + 6 * 8,
            norm_num_groups=8,
            sample_size=16,
        )
        return StableDiffusionXLPipeline(
            unet=unet,
            vae=vae([8, 16, 16, 16]),
            text_encoder=text_encoder(CLIPTextModel, 16, 2, 3),
            text_encoder_2=text_encoder(CLIPTextModelWithProjection, 24, 2, 3, "gelu"),
            tokenizer_2=CLIPTokenizer.from_pretrained(TOKENIZER),
            **common,
        )
    full = family == "sd15-full"
    two = family == "sd2"
    width = 768 if full else 16
    unet = UNet2DConditionModel(
        block_out_channels=[320, 640, 1280, 1280] if full else [8, 16, 32, 32],
        down_block_types=DOWN,
        up_block_types=UP,
        attention_head_dim=8 if full else [1, 2, 4, 4] if two else 2,
        use_linear_projection=two,
        cross_attention_dim=width,
        norm_num_groups=32 if full else 8,
        sample_size=64 if full else 16,
    )
    return StableDiffusionPipeline(
        unet=unet,
        vae=vae([128, 256, 512, 512] if full else [8, 16, 16, 16]),
        text_encoder=text_encoder(CLIPTextModel, width, 12 if full else 2, 12 if full else 3, "gelu" if two else "quick_gelu"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **common,
    )


def networks(pipeline):
    names = ["unet", "vae", "text_encoder", "text_encoder_2"]
    return {name: getattr(pipeline, name) for name in names if getattr(pipeline, name, None) is not None}


def compare(what, found, want):
    """Every tensor of every network is there and has the same bits."""
    count = 0
    for name, network in networks(want).items():
        a, b = network.state_dict(), networks(found)[name].state_dict()
        assert a.keys() == b.keys(), (what, name, a.keys() ^ b.keys())
        for key in a:
            assert a[key].dtype == b[key].dtype and torch.equal(a[key], b[key]), (what, name, key)
        count += len(a)
    print(f"  {what}: {count} tensors, all equal", flush=True)


def main():
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    program, work = sys.argv[1], Path(sys.argv[2])
    for family in sys.argv[3:] or ["sd1", "sd2", "sdxl"]:
        print(family)
        place = work / family
        shutil.rmtree(place, ignore_errors=True)
        pipeline = build(family)
        pipeline.save_pretrained(place / "base")
        cls = type(pipeline)

        def run(*args):
            subprocess.run([program, *map(str, args)], check=True, stdout=subprocess.DEVNULL)

        def opened(folder, **kwargs):
            return cls.from_pretrained(folder, local_files_only=True, **kwargs)

        run("export", place / "base", "--to", place / "single.safetensors")
        config = {"config": str(place / "base"), "local_files_only": True}
        compare("single", cls.from_single_file(place / "single.safetensors", **config), pipeline)
        run("import", place / "single.safetensors", "--config-from", place / "base", "--to", place / "import")
        compare("import", opened(place / "import"), pipeline)
        (place / "single.safetensors").unlink()
        shutil.rmtree(place / "import")
        run("export", place / "base", "--to", place / "folder", "--link")
        compare("folder", opened(place / "folder"), pipeline)
        shutil.rmtree(place / "folder")
        if family == "sd15-full":
            continue
        pipeline.save_pretrained(place / "sharded", max_shard_size="200KB")
        assert (place / "sharded/unet/diffusion_pytorch_model.safetensors.index.json").exists()
        run("export", place / "sharded", "--to", place / "sharded.safetensors")
        compare("sharded", cls.from_single_file(place / "sharded.safetensors", **config), pipeline)
        run("export", place / "sharded", "--to", place / "sharded-folder")
        compare("sharded folder", opened(place / "sharded-folder"), pipeline)
        half = build(family).to(torch.float16)
        half.save_pretrained(place / "variant", variant="fp16", max_shard_size="200KB")
        run("export", place / "variant", "--to", place / "variant-folder", "--dtype", "f16")
        compare("variant", opened(place / "variant-folder", torch_dtype=torch.float16), half)
        gc.collect()


if __name__ == "__main__":
    main()
