"""Golden gradients of Custom Diffusion: keys and values of the text, and a new word, where the first token's are detached.

    python scripts/golden/custom_diffusion.py      # writes crates/rpo-diffusion/tests/golden/custom_diffusion.safetensors

The pipelines `sd` and `xl`, the prompts, latents and the new word are those of text_gradients.py, whose folders are read. Every
attention has diffusers' own CustomDiffusionAttnProcessor, as train_custom_diffusion.py sets them, which detaches key and value of the
first token in cross-attention. In f64; MODEL is sd or xl, ENCODER text_encoder or text_encoder_2:
  MODEL.prediction, MODEL.loss         the U-Net's output [B, C, H, W]; the loss
  MODEL.token.ENCODER                  gradient of the new word's vectors
  MODEL.unet.TENSOR                    gradient of every key and value projection of the text, by its name in the U-Net

Made with torch 2.15.0, transformers 5.23.0, diffusers 0.42.1, safetensors 0.8.
"""

import torch
from diffusers.models.attention_processor import CustomDiffusionAttnProcessor
from safetensors.torch import save_file
from text_gradients import OUT, backward, load

FILE = OUT.parent / "custom_diffusion.safetensors"


def with_processors(unet):
    """Sets the processors; returns the trained parameters by their names in the U-Net."""
    state, processors, trained = unet.state_dict(), {}, {}
    for name in unet.attn_processors:
        layer = name.removesuffix(".processor")
        if not layer.endswith("attn2"):
            processors[name] = CustomDiffusionAttnProcessor(train_kv=False, train_q_out=False)
            continue
        width, text = state[f"{layer}.to_k.weight"].shape
        own = CustomDiffusionAttnProcessor(train_kv=True, train_q_out=False, hidden_size=width, cross_attention_dim=text).to(unet.dtype)
        for part in ("to_k", "to_v"):
            weight = getattr(own, f"{part}_custom_diffusion").weight
            weight.data = state[f"{layer}.{part}.weight"].clone()
            trained[f"{layer}.{part}.weight"] = weight
        processors[name] = own
    unet.set_attn_processor(processors)
    return trained


def gradients(name, dtype):
    pipe, encoders = load(name, dtype)
    plain, _ = load(name, dtype)
    trained = with_processors(pipe.unet)
    tables = {n: encoder.get_input_embeddings().weight.requires_grad_() for n, encoder in encoders.items()}
    tensors = backward(pipe)
    # The forward pass is the plain one.
    off = (backward(plain)["prediction"] - tensors["prediction"]).norm() / tensors["prediction"].norm()
    assert off < 1e-6, off
    tensors |= {f"token.{n}": table.grad[-2:] for n, table in tables.items()}
    tensors |= {f"unet.{key}": weight.grad for key, weight in trained.items()}
    return {f"{name}.{k}": v for k, v in tensors.items()}


def all_gradients(dtype):
    return gradients("sd", dtype) | gradients("xl", dtype)


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    tensors = all_gradients(torch.float64)
    stored = {k: v if k.endswith("loss") else v.float() for k, v in tensors.items()}
    save_file({k: v.detach().contiguous().clone() for k, v in stored.items()}, FILE)
    single = all_gradients(torch.float32)
    off = {k: float((single[k].double() - v).norm() / v.norm()) for k, v in tensors.items()}
    print(f"{len(tensors)} tensors, PyTorch's own f32 is at most {max(off.values()):.1e} from them")


if __name__ == "__main__":
    main()
