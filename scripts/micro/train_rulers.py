"""Trains the encoders that measure pictures of StickerBench: `reward` (ALIGN), `eval_clip`, `eval_dino` and `cond_clip`.

    TWEMOJI=<crate twemoji-assets>/assets/72x72 python train_rulers.py clip --start assets/micro/eval_clip --out eval_clip --minutes 60

Each sees true renders of its own seed alone (`pools.py`), never a picture that a model drew. Configuration and
tokenizer are those of `--start`; its weights too, unless `--fresh`. The weights come out in float32; `export_f16.py`
rounds them. `check_rulers.py` judges the result.

The loss of `align` and `clip`: InfoNCE between pictures and captions in batches where three of four pictures differ
from a neighbour in one named thing alone, captions that are true of another picture left out of its negatives; InfoNCE
between two views of one subject among looks of the same nouns, in the same space (without it the picture tower ignores
looks); and, while training, linear readings of noun, scene, colour and accessory. `vit`: the second alone.
"""

import argparse
import json
import os
import random
import shutil
import time

import numpy as np
import torch
import torch.nn.functional as F

from pools import NONE, Pool
import world as W

SEEDS = {"align": 20_001, "clip": 40_001, "vit": 70_001, "cond": 90_001}


def arguments():
    ap = argparse.ArgumentParser()
    ap.add_argument("kind", choices=list(SEEDS))
    ap.add_argument("--start", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--fresh", action="store_true", help="random weights in --start's configuration")
    ap.add_argument("--minutes", type=float, default=60)
    ap.add_argument("--quads", type=int, default=64)
    ap.add_argument("--families", type=int, default=2, help="of subjects in a batch")
    ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--layers", type=int, default=30_000)
    ap.add_argument("--pool-families", type=int, default=250)
    ap.add_argument("--scenes", type=int, default=250)
    ap.add_argument("--looks", type=float, default=0.5, help="part of the captioned stickers with a look of its own")
    ap.add_argument("--round", type=int, default=0, help="of a continued training: other pictures")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--bf16", action="store_true", help="matrix products in bfloat16")
    ap.add_argument("--steps", type=int, default=0, help="stop after so many, for timing")
    return ap.parse_args()


def pixels(a):
    return torch.from_numpy(a).permute(0, 3, 1, 2).float() / 127.5 - 1


def unit(x):
    return F.normalize(x.float(), dim=-1)


class Align:
    def __init__(self, folder, fresh):
        from transformers import AlignConfig, AlignModel, BertTokenizer

        self.model = AlignModel(AlignConfig.from_pretrained(folder)) if fresh else AlignModel.from_pretrained(folder)
        self.model.float()
        self.tokens = BertTokenizer(os.path.join(folder, "vocab.txt"))
        self.width = self.model.config.projection_dim
        for m in self.model.modules():
            if isinstance(m, torch.nn.BatchNorm2d):
                m.momentum = 0.02  # the configuration's 0.9 keeps the last batch alone
        self.model.vision_model.to(memory_format=torch.channels_last)

    def images(self, x):
        y = self.model.vision_model(pixel_values=x.contiguous(memory_format=torch.channels_last)).pooler_output
        return unit(y), y

    def texts(self, captions):
        q = self.tokens(captions, padding="longest", return_tensors="pt")
        h = self.model.text_model(input_ids=q.input_ids, attention_mask=q.attention_mask)
        return unit(self.model.text_projection(h.last_hidden_state[:, 0]))

    def keep_scale(self, log_scale):
        self.model.temperature.data.fill_(float(torch.exp(-log_scale)))


class Clip:
    def __init__(self, folder, fresh):
        from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

        self.model = CLIPModel(CLIPConfig.from_pretrained(folder)) if fresh else CLIPModel.from_pretrained(folder)
        self.model.float().set_attn_implementation("eager")  # on a CPU faster than the fused one's backward
        self.tokens = CLIPTokenizer.from_pretrained(folder)
        self.width = self.model.config.vision_config.hidden_size

    def images(self, x):
        y = self.model.vision_model(pixel_values=x).pooler_output
        return unit(self.model.visual_projection(y)), y

    def texts(self, captions):
        q = self.tokens(captions, padding="longest", return_tensors="pt")
        return unit(self.model.text_projection(self.model.text_model(input_ids=q.input_ids).pooler_output))

    def keep_scale(self, log_scale):
        self.model.logit_scale.data.copy_(log_scale)


class Vit:
    def __init__(self, folder, fresh):
        from transformers import ViTConfig, ViTModel

        config = ViTConfig.from_pretrained(folder)
        make = lambda: ViTModel(config, add_pooling_layer=False)
        self.model = make() if fresh else ViTModel.from_pretrained(folder, add_pooling_layer=False)
        self.model.float().set_attn_implementation("eager")

    def images(self, x):
        y = self.model(pixel_values=x).last_hidden_state[:, 0]
        return unit(y), y


def info_nce(similarity, free):
    """Symmetric cross entropy of the diagonal; where `free` is true a pair is neither right nor wrong."""
    s = similarity.masked_fill(free, float("-inf"))
    y = torch.arange(len(s))
    return (F.cross_entropy(s, y) + F.cross_entropy(s.T, y)) / 2


def same_subject(first, second, scale):
    n = len(first)
    return info_nce(scale * first @ second.T, torch.zeros(n, n, dtype=torch.bool))


def main():
    A = arguments()
    if os.path.realpath(A.out) == os.path.realpath(A.start):
        raise SystemExit(f"--out {A.out}: the folder that the training begins with would be overwritten")
    torch.set_num_threads(A.threads)
    seed = SEEDS[A.kind] + A.round
    torch.manual_seed(seed)
    R = random.Random(seed)
    started = time.time()
    pool = Pool(seed, 0 if A.kind == "vit" else A.layers, A.pool_families, A.scenes, A.looks)
    print(f"{len(pool.truth)} layers, {pool.scenes.shape[0] * A.scenes} scenes in {time.time() - started:.0f} s", flush=True)
    ruler = {"align": Align, "clip": Clip, "cond": Clip, "vit": Vit}[A.kind](A.start, A.fresh)
    with_text = A.kind != "vit"
    weights = [p for n, p in ruler.model.named_parameters() if n not in ("logit_scale", "temperature")]
    log_scale = torch.nn.Parameter(torch.tensor(3.0))
    sizes = {"noun": len(W.NAMES), "scene": len(W.SCN), "colour": len(W.COL), "accessory": len(W.ACC) + 1}
    readings = torch.nn.ModuleDict({k: torch.nn.Linear(ruler.width, n) for k, n in sizes.items()}) if with_text else None
    groups = [{"params": weights, "weight_decay": 0.05}]
    if with_text:
        groups.append({"params": [log_scale, *readings.parameters()], "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(groups, A.lr, betas=(0.9, 0.98))
    ruler.model.train()
    started, step, sums, last = time.time(), 0, {}, time.time()
    while (f := (time.time() - started) / (60 * A.minutes)) < 1 and not 0 < A.steps <= step:
        lr = A.lr * min(1, (step + 1) / 100) * max(0.01, 1 - f)
        for g in optimizer.param_groups:
            g["lr"] = lr
        losses = {}
        sub_layers, sub_scenes = pool.subject_batch(R, A.families)
        subjects = sub_layers.shape[1]
        layers, scenes = sub_layers.reshape(-1), sub_scenes.reshape(-1, 2)
        if with_text:
            hard, hard_scenes = pool.hard_batch(R, A.quads)
            layers, scenes = np.concatenate([hard, layers]), np.concatenate([hard_scenes, scenes])
            n = len(hard)
            texts, named = pool.captions(R, hard, hard_scenes)
            free = torch.from_numpy(pool.true_of(named, hard, hard_scenes)) & ~torch.eye(n, dtype=torch.bool)
        with torch.autocast("cpu", torch.bfloat16, enabled=A.bf16):
            embedded, features = ruler.images(pixels(pool.pictures(layers, scenes)))
            t = ruler.texts(texts) if with_text else None
        views = embedded[-2 * subjects :]
        losses["subject"] = same_subject(views[:subjects], views[subjects:], 10.0)
        if with_text:
            losses["text"] = info_nce(log_scale.exp().clamp(max=100) * embedded[:n] @ t.T, free)
            truth = [pool.truth[i] for i in layers]
            targets = {
                "noun": [x.noun for x in truth],
                "scene": list(scenes[:, 0]),
                # A sticker with a pattern has no one colour.
                "colour": [x.tint if x.exact and x.pattern == NONE else NONE for x in truth],
                "accessory": [x.accessory + 1 for x in truth],
            }
            for k, target in targets.items():
                logits = readings[k](features.float())
                losses[k] = 0.5 * F.cross_entropy(logits, torch.tensor(target), ignore_index=NONE)
        loss = sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 5.0)
        optimizer.step()
        step += 1
        for k, v in losses.items():
            sums[k] = sums.get(k, 0.0) + v.item()
        if step % 50 == 0:
            words = " ".join(f"{k} {v / 50:.3f}" for k, v in sums.items())
            print(f"{A.kind} {step} {f:.2f} {(time.time() - last) / 50:.2f} s/step {words} scale {log_scale.exp().item():.1f}", flush=True)
            sums, last = {}, time.time()
        if step % 250 == 0:
            save(ruler, log_scale, A)
    save(ruler, log_scale, A)
    print(f"{A.kind}: {step} steps, {time.time() - started:.0f} s", flush=True)


def save(ruler, log_scale, A):
    if hasattr(ruler, "keep_scale"):
        ruler.keep_scale(log_scale.detach())
    ruler.model.save_pretrained(A.out)
    for name in os.listdir(A.start):
        if not name.endswith(".safetensors") and name != "config.json":
            shutil.copy(os.path.join(A.start, name), os.path.join(A.out, name))


if __name__ == "__main__":
    main()
