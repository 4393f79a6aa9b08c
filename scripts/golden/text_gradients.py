"""Golden gradients of text encoders through a U-Net: two tiny random pipelines, and PyTorch's gradients of their text encoders.

    python scripts/golden/text_gradients.py        # writes crates/rpo-diffusion/tests/golden/text_gradients

`sd` and `xl` are whole diffusers folders with random weights that are exact in f16, and the tokenizer of assets/micro. Each reads a
new word `<toy>` of two vectors by diffusers' own `load_textual_inversion`. The loss of one pass is mean (prediction - target)^2 over
everything, the conditioning what the pipelines' `encode_prompt` gives. In f64; latents, target, vectors and adapters are wave().

gradients.safetensors, f32 but for the losses; MODEL is sd or xl, ENCODER text_encoder or text_encoder_2:
  MODEL.prediction, MODEL.loss         the U-Net's output [B, C, H, W]; the loss
  MODEL.token.ENCODER                  gradient of the new word's vectors
  MODEL.ENCODER.TENSOR                 gradient of every tensor that has one, by its name in the folder; without the biases of keys:
                                       they add the same to all scores, so their gradient is 0 but for rounding
  sd.lora.prediction, sd.lora.loss     the same with adapters on the attention of the text encoder
  sd.lora.token.text_encoder           gradient of the vectors with them
  sd.lora.MODULE.lora_{A,B}.weight     gradient of every A and B
The metadata `untrained` lists the tensors on which the loss does not depend.

Made with torch 2.15.0, transformers 5.23.0, diffusers 0.42.1, peft 0.21.2, safetensors 0.8.
"""

import json
import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusion import randomise as randomised
from peft import LoraConfig
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

ROOT = Path(__file__).resolve().parents[2]
MICRO = ROOT / "assets/micro"
OUT = ROOT / "crates/rpo-diffusion/tests/golden/text_gradients"

# The first one twice: its gradient is the sum of both.
PROMPTS = ["a <toy> lion in the snow", "a red apple", "a <toy>", "a <toy> lion in the snow"]
TIMES = [1, 481, 999, 250]
SHAPE = (4, 4, 8, 6)
SIZE = 64
TARGETS = ["k_proj", "out_proj", "q_proj", "v_proj"]
RANK, ALPHA = 2, 3
SHARED_UNET = dict(sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4)
SHARED_TEXT = dict(vocab_size=587, max_position_embeddings=24, bos_token_id=585, eos_token_id=586, pad_token_id=586)


def wave(shape, k):
    """The k-th of the fixed inputs, rounded to f32: sqrt(2) sin(1 + 3 i + 7 k), i the place in row-major order."""
    i = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (2**0.5 * (1 + 3 * i + 7 * k).sin()).float().double().reshape(shape)


def randomise(model, generator):
    return randomised(model, generator).half().eval()


def text_config(**config):
    return CLIPTextConfig(**SHARED_TEXT, **config)


def tokenizer(folder, **changes):
    """The tokenizer of assets/micro, with changes of its configuration."""
    shutil.copytree(MICRO / "tokenizer", folder, dirs_exist_ok=True)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=1) + "\n")


def folders():
    """Both models, as diffusers saves them but for the tokenizers."""
    g = torch.Generator().manual_seed(31)
    vae = randomise(
        AutoencoderKL(
            block_out_channels=(4, 4), norm_num_groups=2, layers_per_block=1, sample_size=16,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        ), g,
    )
    words = CLIPTokenizer.from_pretrained(MICRO / "tokenizer")
    first = text_config(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, projection_dim=16)
    unet = UNet2DConditionModel(
        **SHARED_UNET, cross_attention_dim=16, attention_head_dim=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    scheduler = DDIMScheduler.from_pretrained(MICRO / "scheduler")
    sd = StableDiffusionPipeline(
        vae=vae, text_encoder=randomise(CLIPTextModel(first), g), tokenizer=words, unet=randomise(unet, g), scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )
    first = text_config(hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, projection_dim=16)
    second = text_config(
        hidden_size=24, intermediate_size=48, num_hidden_layers=3, num_attention_heads=3, projection_dim=20, hidden_act="gelu"
    )
    unet = UNet2DConditionModel(
        **SHARED_UNET, cross_attention_dim=40, attention_head_dim=(2, 4), use_linear_projection=True,
        transformer_layers_per_block=(1, 2), addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=20 + 6 * 8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    xl = StableDiffusionXLPipeline(
        vae=vae, text_encoder=randomise(CLIPTextModel(first), g), tokenizer=words, tokenizer_2=words, unet=randomise(unet, g),
        text_encoder_2=randomise(CLIPTextModelWithProjection(second), g), scheduler=scheduler, add_watermarker=False,
    )
    for name, pipeline, suffixes in [("sd", sd, [""]), ("xl", xl, ["", "_2"])]:
        pipeline.save_pretrained(OUT / name)
        for suffix in suffixes:
            shutil.rmtree(OUT / name / f"tokenizer{suffix}")
            # As in the released XL, whose second tokenizer fills up with another token.
            tokenizer(OUT / name / f"tokenizer{suffix}", **({"pad_token": "!"} if suffix else {}))


def load(name, dtype):
    """The pipeline of a folder with the new word, and its text encoders and tokenizers by name."""
    kind = StableDiffusionXLPipeline if name == "xl" else StableDiffusionPipeline
    pipe = kind.from_pretrained(OUT / name, torch_dtype=dtype)
    pipe.unet.requires_grad_(False)
    encoders = {n: getattr(pipe, n) for n in ("text_encoder", "text_encoder_2") if getattr(pipe, n, None) is not None}
    for k, (n, encoder) in enumerate(encoders.items()):
        rows = wave((2, encoder.config.hidden_size), 2 + k) / 4
        words = getattr(pipe, n.replace("text_encoder", "tokenizer"))
        pipe.load_textual_inversion({"<toy>": rows.to(dtype)}, tokenizer=words, text_encoder=encoder)
        table = encoder.get_input_embeddings().weight
        assert len(words) == len(table) == SHARED_TEXT["vocab_size"] + 2, (len(words), table.shape)
        assert torch.equal(table.data[-2:], rows.to(dtype))
        read = pipe.maybe_convert_prompt(PROMPTS[0], words)
        assert read == "a <toy> <toy>_1 lion in the snow", read
        ids = words(read).input_ids
        assert ids[2:4] == [587, 588] and ids[-1] == encoder.config.eos_token_id, ids
    return pipe, encoders


def backward(pipe):
    """The prediction and the loss of one pass; fills .grad."""
    text = pipe.encode_prompt(PROMPTS, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    added = None
    dtype = pipe.unet.dtype
    if isinstance(pipe, StableDiffusionXLPipeline):
        square = (SIZE, SIZE)
        ids = pipe._get_add_time_ids(square, (0, 0), square, dtype, pipe.text_encoder_2.config.projection_dim)
        added = {"text_embeds": text[2], "time_ids": ids.repeat(len(PROMPTS), 1)}
    latents, target = (wave(SHAPE, k).to(dtype) for k in (0, 1))
    prediction = pipe.unet(latents, torch.tensor(TIMES), text[0], added_cond_kwargs=added).sample
    loss = (prediction - target).square().mean()
    loss.backward()
    return {"prediction": prediction.detach(), "loss": loss.detach()}


def full(name, dtype):
    """Every gradient of the text encoders, and the names of the tensors that have none."""
    pipe, encoders = load(name, dtype)
    tensors, untrained = backward(pipe), []
    for n, encoder in encoders.items():
        for key, p in encoder.named_parameters():
            if p.grad is None:
                untrained.append(f"{name}.{n}.{key}")
            elif key.endswith("k_proj.bias"):
                assert p.grad.norm() < 1e-6 * encoder.get_parameter(key.replace("bias", "weight")).grad.norm(), key
            elif key.endswith("token_embedding.weight"):
                tensors |= {f"{n}.{key}": p.grad[:-2], f"token.{n}": p.grad[-2:]}
            else:
                tensors[f"{n}.{key}"] = p.grad
    return {f"{name}.{k}": v for k, v in tensors.items()}, untrained


def lora(dtype):
    """Every gradient of adapters on the text encoder of `sd`, whose own tensors are frozen."""
    pipe, encoders = load("sd", dtype)
    encoder = encoders["text_encoder"]
    encoder.add_adapter(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS))
    plain = {key.replace(".default.", "."): p for key, p in encoder.named_parameters() if "lora_" in key}
    for k, key in enumerate(sorted(plain)):
        plain[key].data = (wave(plain[key].shape, 4 + k) / 4).to(dtype)
    table = encoder.get_input_embeddings().weight.requires_grad_()
    tensors = backward(pipe) | {key: p.grad for key, p in plain.items()}
    tensors["token.text_encoder"] = table.grad[-2:]
    assert all(p.grad is None for key, p in encoder.named_parameters() if "lora_" not in key and p is not table)
    return {f"sd.lora.{k}": v for k, v in tensors.items()}


def all_gradients(dtype):
    (sd, none_of_sd), (xl, none_of_xl) = full("sd", dtype), full("xl", dtype)
    return sd | xl | lora(dtype), none_of_sd + none_of_xl


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    shutil.rmtree(OUT, ignore_errors=True)
    folders()
    tensors, untrained = all_gradients(torch.float64)
    stored = {k: v if k.endswith("loss") else v.float() for k, v in tensors.items()}
    stored = {k: v.contiguous().clone() for k, v in stored.items()}
    save_file(stored, OUT / "gradients.safetensors", {"untrained": json.dumps(untrained)})
    # How far PyTorch's own f32 is from these.
    single, _ = all_gradients(torch.float32)
    off = {k: float((single[k].double() - v).norm() / v.norm()) for k, v in tensors.items()}
    for key in sorted(off, key=off.get)[-12:]:
        print(f"{off[key]:.1e} {float(tensors[key].norm()):.1e} {key}")
    print(f"{len(tensors)} tensors, without gradient: {untrained}")


if __name__ == "__main__":
    main()
