"""What a subject's token does to the embedded base model: how far it moves predictions and pictures, before any training.

    python scripts/micro/check_token.py [TOKEN…]

For four nouns in two scenes, along 10 DDIM steps with guidance 3 (noise of seed 0): the mean distance of the predictions for
"a TOKEN noun scene" from those for "a noun scene", in units of the distance to another noun ("test"); the same for the paper's
training prompt "a photo of TOKEN noun" and for "a photo of a TOKEN noun", from "a photo of a noun"; the cosine of either move to that
of the test prompt; and CLIP-T of pictures drawn with the token, its text without it (eval_clip).

Made with torch 2.15.0, diffusers 0.42.1, transformers 5.23.0.
"""

import sys
from pathlib import Path

import torch
import transformers
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPImageProcessor, CLIPModel, CLIPTextModel, CLIPTokenizer

MICRO = Path(__file__).resolve().parents[2] / "assets/micro"
NOUNS, SCENES = ["unicorn", "lion", "apple", "backpack"], ["in the snow", "on the beach"]
STEPS, GUIDANCE = 10, 3.0

transformers.utils.logging.set_verbosity_error()
torch.set_grad_enabled(False)
tokenizer = CLIPTokenizer.from_pretrained(MICRO / "tokenizer")
text = CLIPTextModel.from_pretrained(MICRO / "text_encoder").float()
unet = UNet2DConditionModel.from_pretrained(MICRO / "unet").float()
vae = AutoencoderKL.from_pretrained(MICRO / "vae").float()
judge = CLIPModel.from_pretrained(MICRO / "eval_clip").float()
words, eyes = CLIPTokenizer.from_pretrained(MICRO / "eval_clip"), CLIPImageProcessor.from_pretrained(MICRO / "eval_clip")
schedule = DDIMScheduler.from_pretrained(MICRO / "scheduler")
schedule.set_timesteps(STEPS)
size = unet.config.sample_size
noise = torch.randn(len(NOUNS) * len(SCENES), unet.config.in_channels, size, size, generator=torch.Generator().manual_seed(0))


def prompts(form, nouns=NOUNS):
    return [form.format(noun=noun, scene=scene) for noun in nouns for scene in SCENES]


def states(texts):
    ids = tokenizer(texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt").input_ids
    return text(ids)[0]


EMPTY = states([""] * len(noise))


def trajectory(condition):
    """The latents before every step, and the last."""
    x = noise
    for t in schedule.timesteps:
        yield x, t
        free, under = unet(torch.cat([x, x]), t, torch.cat([EMPTY, condition])).sample.chunk(2)
        x = schedule.step(free + GUIDANCE * (under - free), t, x).prev_sample
    yield x, None


def moves(path, condition, base):
    return [unet(x, t, condition).sample - unet(x, t, base).sample for x, t in path]


def length(moved):
    return sum(float(m.norm()) for m in moved) / len(moved)


def cosine(a, b):
    each = [torch.nn.functional.cosine_similarity(x.flatten(1), y.flatten(1)).mean() for x, y in zip(a, b)]
    return float(sum(each) / len(each))


def features(x):
    return x if torch.is_tensor(x) else x.pooler_output


def clip_t(condition, texts):
    *_, (latents, _) = trajectory(condition)
    pictures = vae.decode(latents / vae.config.scaling_factor).sample.clamp(-1, 1)
    pictures = [((p.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy() for p in pictures]
    image = features(judge.get_image_features(eyes(pictures, return_tensors="pt").pixel_values))
    read = features(judge.get_text_features(**words(texts, padding=True, return_tensors="pt")))
    return float(torch.nn.functional.cosine_similarity(image, read).mean())


def main():
    plain = prompts("a {noun} {scene}")
    base, photo = states(plain), states(prompts("a photo of a {noun}"))
    path = [step for step in trajectory(base) if step[1] is not None][1::3]
    unit = length(moves(path, states(prompts("a {noun} {scene}", NOUNS[1:] + NOUNS[:1])), base))
    print(f"without a token: CLIP-T {clip_t(base, plain):.3f}")
    print(f"{'token':<8} test   a photo of T (cosine)   a photo of a T (cosine)   CLIP-T")
    for token in sys.argv[1:] or ["[v]", "sks", "zwx", "qq"]:
        condition = states(prompts(f"a {token} {{noun}} {{scene}}"))
        test = moves(path, condition, base)
        row = f"{token:<8} {length(test) / unit:.3f}"
        for form in (f"a photo of {token} {{noun}}", f"a photo of a {token} {{noun}}"):
            training = moves(path, states(prompts(form)), photo)
            row += f"  {length(training) / unit:.3f} ({cosine(training, test):+.2f})        "
        print(row, f"  {clip_t(condition, plain):.3f}", flush=True)


if __name__ == "__main__":
    main()
