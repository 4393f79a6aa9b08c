"""Makes the text encoder of the embedded model and its tokenizer from StickerBench captions and pictures.

    TWEMOJI=<crate twemoji-assets>/assets/72x72 python train_text.py --out micro --minutes 10

The text encoder is the text tower of a CLIP of its own, trained on plain pictures by contrast and frozen from then on;
its picture tower is thrown away. The tokenizer is a byte-pair vocabulary in which every caption word is one token.
Reward and judges are made by `train_rulers.py`, the VAE by `make_vae.py`, the U-Net by the crate rpo-pretrain.

Needs torch, transformers, tokenizers, pillow, numpy (torch 2.15, transformers 5.23 were used).
"""

import argparse
import json
import multiprocessing as mp
import os
import random
import time

import numpy as np
import torch
import torch.nn.functional as F

LENGTH = 24  # tokens of a caption
LOOKS = 0.15  # part of the pictures whose sticker has a look of its own
HELD_OUT = 512


def arguments():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default="micro")
    ap.add_argument("--pictures", type=int, default=40_000)
    ap.add_argument("--minutes", type=float, default=10)
    ap.add_argument("--batch", type=int, default=64)
    ap.add_argument("--seed", type=int, default=0)
    return ap.parse_args()


def some(a):
    """Captioned pictures of one worker: (seed, count)."""
    from world import sample

    seed, n = a
    R = random.Random(seed)
    pairs = [sample(R, LOOKS) for _ in range(n)]
    return np.stack([np.asarray(picture) for picture, _ in pairs]), [caption for _, caption in pairs]


def draw(A, at_once=1000):
    seeds = [(1000 + A.seed * 10**7 + k, at_once) for k in range(A.pictures // at_once)]
    with mp.Pool() as pool:
        parts = pool.map(some, seeds, 1)
    return np.concatenate([x for x, _ in parts]), [t for _, ts in parts for t in ts]


def tokenizer(A, captions):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    words = set(" ".join(captions).split()) | set(
        "picture of the with and floating swimming sitting shiny wet painting".split()
    )
    t = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters = [chr(c) for c in range(33, 127)]
    t.train_from_iterator(
        [w for w in sorted(words) if w.isalpha() for _ in range(5)],
        trainers.BpeTrainer(
            vocab_size=3000,
            min_frequency=2,
            end_of_word_suffix="</w>",
            initial_alphabet=letters,
            special_tokens=[],
            show_progress=False,
        ),
    )
    merges = json.loads(t.to_str())["model"]["merges"]
    entries = list(dict.fromkeys(letters + [a + "</w>" for a in letters] + [a + b for a, b in merges]))
    vocabulary = {x: i for i, x in enumerate(entries + ["<|startoftext|>", "<|endoftext|>"])}
    folder = os.path.join(A.out, "tokenizer")
    os.makedirs(folder, exist_ok=True)
    special = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
    }
    config = {**special, "model_max_length": LENGTH, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True}
    with open(os.path.join(folder, "vocab.json"), "w") as file:
        json.dump(vocabulary, file, ensure_ascii=False)
    with open(os.path.join(folder, "merges.txt"), "w") as file:
        file.write("#version: 0.2\n" + "\n".join(f"{a} {b}" for a, b in merges) + "\n")
    for name, value in (("special_tokens_map.json", special), ("tokenizer_config.json", config)):
        with open(os.path.join(folder, name), "w") as file:
            json.dump(value, file, indent=1)
    return CLIPTokenizer.from_pretrained(folder)


def model(tokens):
    from transformers import CLIPConfig, CLIPModel

    towers = dict(hidden_size=128, intermediate_size=512, num_attention_heads=4, projection_dim=128)
    end = tokens.eos_token_id
    text = dict(
        vocab_size=len(tokens),
        num_hidden_layers=3,
        max_position_embeddings=LENGTH,
        eos_token_id=end,
        bos_token_id=tokens.bos_token_id,
        pad_token_id=end,
    )
    vision = dict(num_hidden_layers=4, image_size=64, patch_size=8)
    return CLIPModel(CLIPConfig(text_config=text | towers, vision_config=vision | towers, projection_dim=128))


def main():
    from transformers import CLIPTextModel

    A = arguments()
    torch.manual_seed(A.seed)
    X, captions = draw(A)
    tokens = tokenizer(A, captions)
    ids = tokens(captions, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt").input_ids
    m = model(tokens)

    def similarity(k):
        x = torch.from_numpy(X[k]).permute(0, 3, 1, 2).float() / 127.5 - 1
        v = F.normalize(m.visual_projection(m.vision_model(pixel_values=x).pooler_output), dim=-1)
        t = F.normalize(m.text_projection(m.text_model(input_ids=ids[k]).pooler_output), dim=-1)
        return v @ t.T

    weights = [p for name, p in m.named_parameters() if name != "logit_scale"]
    log_scale = torch.nn.Parameter(torch.tensor(2.66))
    optimizer = torch.optim.AdamW(weights + [log_scale], 1e-3, weight_decay=0.05, betas=(0.9, 0.98))
    R = np.random.RandomState(A.seed + 1)
    right = torch.arange(A.batch)
    started, step = time.time(), 0
    while (f := (time.time() - started) / (60 * A.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 100) * max(0.02, 1 - f)
        s = log_scale.exp().clamp(max=100) * similarity(np.sort(R.randint(HELD_OUT, len(X), A.batch)))
        loss = (F.cross_entropy(s, right) + F.cross_entropy(s.T, right)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 200 == 0:
            with torch.no_grad():
                s = similarity(np.arange(HELD_OUT))
            recall = (s.argmax(1) == torch.arange(HELD_OUT)).float().mean().item()
            print(f"{step} {f:.2f} loss {loss.item():.3f} recall@1 of {HELD_OUT} {recall:.3f}", flush=True)
    encoder = CLIPTextModel(m.config.text_config)
    kept = {k: v for k, v in m.state_dict().items() if k.startswith("text_model.")}
    if not any(k.startswith("text_model.") for k in encoder.state_dict()):
        kept = {k.removeprefix("text_model."): v for k, v in kept.items()}
    encoder.load_state_dict(kept)
    encoder.save_pretrained(os.path.join(A.out, "text_encoder"))


if __name__ == "__main__":
    main()
