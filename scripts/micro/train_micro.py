"""Makes the micro models (diffusers / transformers layout) from StickerBench pictures.

    TWEMOJI=<crate twemoji-assets>/assets/72x72 \\
        python train_micro.py all --out micro --device cuda --pictures 200000 --minutes 1

Stages: data, tokenizer, text, vae, unet, align, clip, vit, check (or all, in that order).
`--minutes` is the time of each trained stage (the U-Net gets three times that), so `all` takes
8 x minutes and the data. `check` scores pictures that should win against pictures that should
lose; weights that fail it are not worth keeping. The weights come out in float32:
`export_f16.py` makes `assets/micro` of them.

Needs torch, diffusers, transformers, pillow, numpy (torch 2.15, diffusers 0.42, transformers 5.23 were used).

Names: A arguments, D device, B batch size, X pictures (uint8, N x 64 x 64 x 3), T captions,
R random generator, m model, o optimiser, f fraction of the stage's time, i step, k indices.
"""

import argparse
import json
import math
import multiprocessing as mp
import os
import random
import shutil
import time

import numpy as np
import torch
import torch.nn.functional as F

L = 32  # tokens of a caption
ap = argparse.ArgumentParser()
ap.add_argument("stage")
ap.add_argument("--out", default="micro")
ap.add_argument("--device", default="cpu")
ap.add_argument("--pictures", type=int, default=40000)
ap.add_argument("--subjects", type=int, default=14000)
ap.add_argument("--minutes", type=float, default=10)
ap.add_argument("--batch", type=int, default=0, help="0: 16 on a CPU, 256 on a GPU")
ap.add_argument("--data", default="data")
ap.add_argument("--seed", type=int, default=0)
ap.add_argument("--channels", default="64,96,160")
ap.add_argument("--resume", action="store_true", help="go on from the vae / unet in --out")
ap.add_argument("--workers", type=int, default=os.cpu_count())
A = ap.parse_args()
D = torch.device(A.device)
CUDA = D.type == "cuda"
B = A.batch or (256 if CUDA else 16)
torch.manual_seed(A.seed)
np.random.seed(A.seed)
if CUDA:
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True


def amp():
    """Mixed precision on a GPU, nothing on a CPU."""
    if CUDA:
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return torch.autocast("cpu", enabled=False)


def px(a):
    """uint8 [N, H, W, 3] to float [N, 3, H, W] in [-1, 1] on the device."""
    x = torch.from_numpy(np.ascontiguousarray(a)).to(D, non_blocking=True)
    return x.permute(0, 3, 1, 2).float() / 127.5 - 1


def P(d):
    """A path in the output folder."""
    return os.path.join(A.out, d)


def lrs(o, lr, f, i, warm=200, cos=True):
    """Learning rate: linear warm-up, then a quarter cosine or a line down to 2 % of it."""
    decay = max(0.02, math.cos(math.pi / 2 * f) if cos else 1 - f)
    for g in o.param_groups:
        g["lr"] = lr * min(1, (i + 1) / warm) * decay


def loop(minutes):
    """Yields (fraction of the time gone, step) until the time is up."""
    t = time.time()
    i = 0
    while (f := (time.time() - t) / (60 * minutes)) < 1:
        yield f, i
        i += 1


def _pics(a):
    """Captioned pictures of one worker: (seed, count, share with looks)."""
    from world import sample

    seed, n, looks = a
    R = random.Random(seed)
    X = np.zeros((n, 64, 64, 3), "uint8")
    T = []
    for i in range(n):
        im, t = sample(R, looks)
        X[i] = np.asarray(im)
        T.append(t)
    return X, T


def _subs(a):
    """Two views each of random subjects, of one worker: (seed, count)."""
    from world import instance, render, SCN, ACC

    seed, n = a
    R = random.Random(seed)
    X = np.zeros((n, 2, 64, 64, 3), "uint8")
    for i in range(n):
        s = instance(R)
        for j in range(2):
            X[i, j] = np.asarray(
                render(R, s, R.choice(SCN), R.choice(list(ACC)) if R.random() < 0.2 else None)
            )
    return X


def data():
    """Draws three sets of captioned pictures that share none, and pairs of views of subjects."""
    os.makedirs(A.data, exist_ok=True)
    c = 1000
    with mp.Pool(A.workers) as p:
        for name, base, looks in (
            ("base", 1000, 0.15),
            ("reward", 2 * 10**6, 0.5),
            ("eval", 4 * 10**6, 0.5),
        ):  # three sets of pictures that share none
            r = p.map(
                _pics, [(base + A.seed * 10**7 + k, c, looks) for k in range(A.pictures // c)], 1
            )
            np.save(f"{A.data}/{name}.npy", np.concatenate([x for x, _ in r]))
            json.dump([t for _, ts in r for t in ts], open(f"{A.data}/{name}.json", "w"))
        np.save(
            f"{A.data}/subjects.npy",
            np.concatenate(
                p.map(
                    _subs,
                    [(7 * 10**6 + A.seed * 10**6 + k, c) for k in range(max(1, A.subjects // c))],
                    1,
                )
            ),
        )


def pictures(name="base"):
    return np.load(f"{A.data}/{name}.npy"), json.load(open(f"{A.data}/{name}.json"))


def tokenizer():
    """Byte-pair vocabulary in which every caption word is one token."""
    from tokenizers import Tokenizer, models, trainers, pre_tokenizers

    words = set(" ".join(pictures()[1] + pictures("eval")[1]).split()) | set(
        "picture of the with and floating swimming sitting shiny wet painting".split()
    )
    t = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    al = [chr(c) for c in range(33, 127)]
    t.train_from_iterator(
        [w for w in sorted(words) if w.isalpha() for _ in range(5)],
        trainers.BpeTrainer(
            vocab_size=3000,
            min_frequency=2,
            end_of_word_suffix="</w>",
            initial_alphabet=al,
            special_tokens=[],
            show_progress=False,
        ),
    )
    m = json.loads(t.to_str())["model"]["merges"]
    v = list(dict.fromkeys(al + [a + "</w>" for a in al] + [a + b for a, b in m]))
    v = {x: i for i, x in enumerate(v + ["<|startoftext|>", "<|endoftext|>"])}
    os.makedirs(P("tokenizer"), exist_ok=True)
    json.dump(v, open(P("tokenizer/vocab.json"), "w"), ensure_ascii=False)
    open(P("tokenizer/merges.txt"), "w").write(
        "#version: 0.2\n" + "\n".join(f"{a} {b}" for a, b in m) + "\n"
    )
    s = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
    }
    json.dump(s, open(P("tokenizer/special_tokens_map.json"), "w"), indent=1)
    json.dump(
        {**s, "model_max_length": L, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True},
        open(P("tokenizer/tokenizer_config.json"), "w"),
        indent=1,
    )


CLIP_PRE = {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True,
    "size": {"height": 64, "width": 64},
    "resample": 3,
    "do_center_crop": False,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "do_convert_rgb": True,
}


def clip_tok():
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(P("tokenizer"))


def recall(s):
    """Recall@1 of a 512 x 512 similarity matrix whose diagonal holds the true pairs, as text."""
    hit = (s.argmax(1) == torch.arange(512, device=D)).float().mean().item()
    return f"recall@1/512 {hit:.3f} pos {s.diag().mean().item():.3f} neg {s.mean().item():.3f}"


def contrast(feats, params, X, image, tag, lr=1e-3, wd=0.05, train=lambda t: None, seed=1):
    """InfoNCE over (picture, caption) batches, plus InfoNCE over two views of one subject in the
    same space (`image` embeds pictures), without which the image tower ignores looks and image
    similarity says nothing of identity. The first 512 pairs are held out.
    Returns the temperature's log."""
    SX = np.load(f"{A.data}/subjects.npy") if image else None
    ls = torch.nn.Parameter(torch.tensor(2.66, device=D))
    o = torch.optim.AdamW(params + [ls], lr, weight_decay=wd, betas=(0.9, 0.98))
    b = max(64, B)
    R = np.random.RandomState(seed)
    y = torch.arange(b, device=D)
    for f, i in loop(A.minutes):
        train(True)
        lrs(o, lr, f, i, 100, False)
        k = np.sort(R.randint(512, len(X), b))
        with amp():
            v, t = feats(px(X[k]), k)
        s = ls.exp().clamp(max=100) * v.float() @ t.float().T
        l = (F.cross_entropy(s, y) + F.cross_entropy(s.T, y)) / 2
        if image:
            c = max(32, b // 2)
            j = np.sort(R.choice(len(SX), c, replace=False))
            yc = torch.arange(c, device=D)
            with amp():
                w = image(px(np.concatenate([SX[j, 0], SX[j, 1]]))).float()
            q = w[:c] @ w[c:].T / 0.12
            l = l + (F.cross_entropy(q, yc) + F.cross_entropy(q.T, yc)) / 2
        o.zero_grad()
        l.backward()
        o.step()
        if i % 200 == 199:
            train(False)
            with torch.no_grad():
                k = np.arange(512)
                v, t = feats(px(X[k]), k)
                s = v @ t.T
            print(
                tag,
                i + 1,
                f"{f:.2f} loss {l.item():.3f} " + recall(s),
                flush=True,
            )
    train(False)
    return ls.detach()


def text():
    """The frozen text encoder of the pipeline: the text tower of a CLIP of its own."""
    _clip("base")


def clip():
    """The judge."""
    _clip("eval")


def _clip(which):
    from transformers import CLIPConfig, CLIPModel, CLIPTextModel

    tok = clip_tok()
    X, T = pictures(which)
    torch.manual_seed(A.seed + len(which))
    ids = tok(T, padding="max_length", max_length=L, return_tensors="pt").input_ids.to(D)
    e = tok.eos_token_id
    c = CLIPConfig(
        text_config=dict(
            vocab_size=len(tok),
            hidden_size=128,
            intermediate_size=512,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=L,
            projection_dim=128,
            eos_token_id=e,
            bos_token_id=tok.bos_token_id,
            pad_token_id=e,
        ),
        vision_config=dict(
            hidden_size=128,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=64,
            patch_size=8,
            projection_dim=128,
        ),
        projection_dim=128,
    )
    m = CLIPModel(c).to(D)

    def image(x):
        v = m.vision_model(pixel_values=x).pooler_output
        return F.normalize(m.visual_projection(v), dim=-1)

    def feats(x, k):
        t = m.text_model(input_ids=ids[k]).pooler_output
        return image(x), F.normalize(m.text_projection(t), dim=-1)

    ls = contrast(
        feats,
        [p for n, p in m.named_parameters() if n != "logit_scale"],
        X,
        image if which == "eval" else None,
        which + " clip",
    )
    m.logit_scale.data.copy_(ls)
    if which == "eval":
        m.save_pretrained(P("eval_clip"))
        for f in os.listdir(P("tokenizer")):
            shutil.copy(P("tokenizer/" + f), P("eval_clip/" + f))
        return json.dump(CLIP_PRE, open(P("eval_clip/preprocessor_config.json"), "w"), indent=1)
    te = CLIPTextModel(c.text_config)
    pre = any(k.startswith("text_model.") for k in te.state_dict())
    te.load_state_dict(
        {
            (k if pre else k[11:]): v.cpu()
            for k, v in m.state_dict().items()
            if k.startswith("text_model.")
        },
        strict=False,
    )
    te.save_pretrained(P("text_encoder"))


def align():
    """The reward model: EfficientNet + BERT with a word list of its own."""
    from transformers import AlignConfig, AlignModel, BertTokenizer

    X, T = pictures("reward")
    torch.manual_seed(A.seed + 2)
    os.makedirs(P("reward"), exist_ok=True)
    al = "abcdefghijklmnopqrstuvwxyz0123456789"
    ws = sorted({w for t in T for w in t.replace("[v]", "[ v ]").split()} - set("[]v"))
    V = (
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        + list("[],.!?'\"-")
        + list(al)
        + ["##" + c for c in al]
        + [w for w in ws if len(w) > 1]
    )
    open(P("reward/vocab.txt"), "w").write("\n".join(V) + "\n")
    tok = BertTokenizer(P("reward/vocab.txt"))
    tok.model_max_length = L
    tok.save_pretrained(P("reward"))
    q = tok(T, padding="max_length", max_length=L, return_tensors="pt").to(D)
    m = AlignModel(
        AlignConfig(
            projection_dim=128,
            text_config=dict(
                vocab_size=len(V),
                hidden_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=512,
                max_position_embeddings=L,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            ),
            vision_config=dict(
                image_size=64,
                width_coefficient=1.0,
                depth_coefficient=1.0,
                depth_divisor=8,
                in_channels=[32, 16, 24, 32, 64],
                out_channels=[16, 24, 32, 64, 128],
                kernel_sizes=[3, 3, 5, 3, 3],
                strides=[1, 2, 2, 2, 1],
                num_block_repeats=[1, 2, 2, 2, 1],
                expand_ratios=[1, 4, 4, 4, 4],
                hidden_dim=128,
                drop_connect_rate=0.0,
                batch_norm_momentum=0.9,
            ),
        )
    ).to(D)

    def image(x):
        return F.normalize(m.vision_model(pixel_values=x).pooler_output, dim=-1)

    def feats(x, k):
        h = m.text_model(input_ids=q.input_ids[k], attention_mask=q.attention_mask[k])
        return image(x), F.normalize(m.text_projection(h.last_hidden_state[:, 0]), dim=-1)

    ls = contrast(
        feats,
        [p for n, p in m.named_parameters() if n != "temperature"],
        X,
        image,
        "align",
        1.5e-3,
        0.02,
        m.train,
        2,
    )
    m.temperature.data.fill_(float(torch.exp(-ls)))
    m.save_pretrained(P("reward"))
    json.dump(
        {
            "image_processor_type": "EfficientNetImageProcessor",
            "do_resize": True,
            "size": {"height": 64, "width": 64},
            "resample": 3,
            "do_center_crop": False,
            "do_rescale": True,
            "rescale_factor": 1 / 127.5,
            "rescale_offset": True,
            "include_top": False,
            "do_normalize": False,
        },
        open(P("reward/preprocessor_config.json"), "w"),
        indent=1,
    )


def vit():
    """Self-supervised picture encoder: two views of one subject agree on their CLS token."""
    from transformers import ViTConfig, ViTModel

    X = np.load(f"{A.data}/subjects.npy")
    N = len(X) - 512
    b = min(max(64, B), N)
    m = ViTModel(
        ViTConfig(
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=512,
            image_size=64,
            patch_size=8,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
        add_pooling_layer=False,
    ).to(D)
    head = torch.nn.Sequential(
        torch.nn.Linear(128, 256), torch.nn.GELU(), torch.nn.Linear(256, 64)
    ).to(D)
    o = torch.optim.AdamW(
        list(m.parameters()) + list(head.parameters()), 1e-3, weight_decay=0.05, betas=(0.9, 0.98)
    )
    y = torch.arange(b, device=D)
    R = np.random.RandomState(3)
    for f, i in loop(A.minutes):
        lrs(o, 1e-3, f, i, 100, False)
        k = np.sort(R.choice(N, b, replace=False))
        with amp():
            h = m(pixel_values=px(np.concatenate([X[k, 0], X[k, 1]]))).last_hidden_state[:, 0]
            g = head(h)
        l = sum(
            (F.cross_entropy(a[:b] @ a[b:].T / 0.1, y) + F.cross_entropy(a[b:] @ a[:b].T / 0.1, y))
            / 2
            for a in (F.normalize(g.float(), dim=-1), F.normalize(h.float(), dim=-1))
        )
        o.zero_grad()
        l.backward()
        o.step()
        if i % 100 == 99:
            with torch.no_grad():
                h = F.normalize(
                    m(pixel_values=px(np.concatenate([X[N:, 0], X[N:, 1]]))).last_hidden_state[
                        :, 0
                    ],
                    dim=-1,
                )
                s = h[:512] @ h[512:].T
            print(
                "vit",
                i + 1,
                f"{f:.2f} loss {l.item():.3f} " + recall(s),
                flush=True,
            )
    m.save_pretrained(P("eval_dino"))
    json.dump(
        {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": 64, "width": 64},
            "resample": 3,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
        },
        open(P("eval_dino/preprocessor_config.json"), "w"),
        indent=1,
    )


def vae():
    """Autoencoder on crops; the latent scale is measured on whole pictures."""
    from diffusers import AutoencoderKL

    X = pictures()[0]
    v = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
    ).to(D)
    if A.resume:
        v = AutoencoderKL.from_pretrained(P("vae")).to(D)
    o = torch.optim.AdamW(v.parameters(), 2e-3, betas=(0.9, 0.95), weight_decay=0)
    b = B if CUDA else 24
    av = 0
    R = np.random.RandomState(4)
    for f, i in loop(A.minutes):  # 32-pixel crops: four times the steps for the same work
        lrs(o, 2e-3, f, i, 100, False)
        k = R.randint(0, len(X), b)
        x = px(
            np.stack(
                [
                    X[j, 4 * r : 4 * r + 32, 4 * c : 4 * c + 32]
                    for j, r, c in zip(k, R.randint(0, 9, b), R.randint(0, 9, b))
                ]
            )
        )
        with amp():
            q = v.encode(x).latent_dist
            y = v.decode(q.mean + q.std * torch.randn_like(q.mean)).sample
        mse = (y.float() - x).pow(2).mean()
        l = (y.float() - x).abs().mean() + 2 * mse + 5e-5 * q.kl().float().mean() / (8 * 8 * 4)
        o.zero_grad()
        l.backward()
        torch.nn.utils.clip_grad_norm_(v.parameters(), 0.5)
        o.step()
        p = (10 * torch.log10(4 / mse)).item()
        av = p if i == 0 else 0.98 * av + 0.02 * p
        if i % 200 == 199:
            print("vae", i + 1, f"{f:.2f} psnr on crops {av:.2f}", flush=True)
    with torch.no_grad():
        x = px(X[:512])
        q = v.encode(x).latent_dist.mean
        y = v.decode(q).sample.clamp(-1, 1)
        print(
            "vae psnr on pictures",
            (10 * torch.log10(4 / (y - x).pow(2).mean((1, 2, 3)))).mean().item(),
        )
        v.register_to_config(scaling_factor=float(1 / q.std()))
    v.save_pretrained(P("vae"))


def unet():
    """Denoiser on cached latents, a tenth of the captions dropped, averaged weights kept."""
    from diffusers import AutoencoderKL, UNet2DConditionModel, DDIMScheduler
    from transformers import CLIPTextModel

    v = AutoencoderKL.from_pretrained(P("vae")).to(D).eval()
    tok = clip_tok()
    te = CLIPTextModel.from_pretrained(P("text_encoder")).to(D).eval()
    X, T = pictures()
    s = v.config.scaling_factor
    n = te.config.max_position_embeddings
    ids = tok(
        T, padding="max_length", max_length=n, truncation=True, return_tensors="pt"
    ).input_ids.to(D)
    nid = tok([""], padding="max_length", max_length=n, return_tensors="pt").input_ids[0].to(D)
    with torch.no_grad():
        Z = torch.cat(
            [v.encode(px(X[i : i + 200])).latent_dist.mean * s for i in range(0, len(X), 200)]
        )
    ch = tuple(int(c) for c in A.channels.split(","))
    u = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=ch,
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=8,
        norm_num_groups=16,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    ).to(D)
    if A.resume:
        u = UNet2DConditionModel.from_pretrained(P("unet")).to(D)
    sch = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    sch.save_pretrained(P("scheduler"))
    ac = sch.alphas_cumprod.to(D)
    p = list(u.parameters())
    o = torch.optim.AdamW(p, 1e-3, weight_decay=0.01, betas=(0.9, 0.99))
    ema = [x.detach().clone() for x in p]
    run = 0
    for f, i in loop(3 * A.minutes):
        lrs(o, 1e-3, f, i)
        k = torch.randint(0, len(Z), (B,), device=D)
        z = Z[k]
        n = torch.randn_like(z)
        t = torch.randint(0, 1000, (B,), device=D)
        a = ac[t].view(-1, 1, 1, 1)
        d = ids[k].clone()
        d[torch.rand(B, device=D) < 0.1] = nid
        with torch.no_grad():
            h = te(input_ids=d).last_hidden_state
        with amp():
            e = u(a.sqrt() * z + (1 - a).sqrt() * n, t, h).sample
        l = F.mse_loss(e.float(), n)
        o.zero_grad()
        l.backward()
        torch.nn.utils.clip_grad_norm_(p, 1.0)
        o.step()
        w = min(0.9995, (1 + i) / (10 + i))
        with torch.no_grad():
            torch._foreach_lerp_(ema, [x.detach() for x in p], 1 - w)
        if i % 200 == 199:
            run = l.item() if run == 0 else 0.8 * run + 0.2 * l.item()
            print("unet", i + 1, f"{f:.2f} loss {run:.4f} ({(i+1)*B} samples)", flush=True)
    with torch.no_grad():
        torch._foreach_copy_(p, ema)
    u.save_pretrained(P("unet"))
    json.dump(
        {
            "_class_name": "StableDiffusionPipeline",
            "_diffusers_version": "0.42.1",
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "scheduler": ["diffusers", "DDIMScheduler"],
            "safety_checker": [None, None],
            "feature_extractor": [None, None],
            "requires_safety_checker": False,
        },
        open(P("model_index.json"), "w"),
        indent=1,
    )


def check():
    """Does a true subject beat the plain noun, and the right scene the wrong one, under each
    encoder? 40 random subjects."""
    from transformers import AlignModel, BertTokenizer, CLIPModel, CLIPTokenizer, ViTModel
    import world as W

    own_tokenizer = os.path.exists(P("eval_clip/vocab.json"))
    align_model = AlignModel.from_pretrained(P("reward")).float().eval()
    bert_tokens = BertTokenizer(P("reward/vocab.txt"))
    clip_model = CLIPModel.from_pretrained(P("eval_clip")).float().eval()
    clip_tokens = CLIPTokenizer.from_pretrained(P("eval_clip" if own_tokenizer else "tokenizer"))
    vit_model = ViTModel.from_pretrained(P("eval_dino")).float().eval()
    R = random.Random(99 + A.seed)

    def draw(sprite, scene):
        return np.asarray(W.render(R, sprite, scene))

    def unit(x):
        return F.normalize(x, dim=-1)

    def align_text(caption):
        q = bert_tokens([caption], padding="max_length", max_length=L, return_tensors="pt")
        h = align_model.text_model(input_ids=q.input_ids, attention_mask=q.attention_mask)
        return unit(align_model.text_projection(h.last_hidden_state[:, 0]))

    def clip_text(caption):
        q = clip_tokens([caption], padding="max_length", max_length=L, return_tensors="pt")
        h = clip_model.text_model(input_ids=q.input_ids).pooler_output
        return unit(clip_model.text_projection(h))

    rows = []
    reference_scenes = ("on a wooden floor", "on a street")
    scenes = [s for s in W.SCN if s not in reference_scenes]
    for _ in range(40):
        noun = R.choice(W.NAMES)
        look = W.SPR[noun]
        look = W.tint(look, R.random(), R.uniform(0.6, 1)) if R.random() < 0.5 else look
        look = W.pattern(look, R.choice(W.PAT), R.random(), R.randrange(1 << 30))
        good = R.choice(scenes)
        bad = R.choice([x for x in scenes if x != good])
        references = [draw(look, reference_scenes[k % 2]) for k in range(5)]
        plain = W.SPR[noun]
        candidates = [draw(look, good), draw(plain, good), draw(look, bad), draw(plain, bad)]
        caption = f"a {noun} {good}"
        x = torch.from_numpy(np.stack(references + candidates)).permute(0, 3, 1, 2).float()
        x = x / 127.5 - 1
        with torch.no_grad():
            v = unit(align_model.vision_model(pixel_values=x).pooler_output)
            c = clip_model.vision_model(pixel_values=x).pooler_output
            c = unit(clip_model.visual_projection(c))
            w = unit(vit_model(pixel_values=x).last_hidden_state[:, 0])
            image_score = ((v[5:] @ v[:5].T + 1) / 2).mean(1)
            text_score = ((v[5:] @ align_text(caption).T).squeeze(1) + 1) / 2
            harmonic = [1 / (l / image_score + (1 - l) / text_score) for l in (0.3, 0.5, 0.7)]
            clip_i = (c[5:] @ c[:5].T).mean(1)
            clip_t = (c[5:] @ clip_text(caption).T).squeeze(1)
            vit_i = (w[5:] @ w[:5].T).mean(1)
        rows.append(torch.stack([image_score, text_score, *harmonic, clip_i, clip_t, vit_i]))
    m = torch.stack(rows)

    def beats(column, other):
        """Share of the subjects whose first candidate scores above candidate `other`."""
        return (m[:, column, 0] > m[:, column, other]).float().mean()

    print("candidate            ALIGN-I ALIGN-T   H.3   H.5   H.7 CLIP-I CLIP-T ViT-I")
    names = ("subject, right", "plain,   right", "subject, wrong", "plain,   wrong")
    for k, name in enumerate(names):
        print(name, "scene", *["%6.3f" % x for x in m[:, :, k].mean(0)])
    for k, l in ((2, 0.3), (3, 0.5), (4, 0.7)):
        print(
            f"lambda {l}: subject in the right scene beats plain {beats(k, 1):.2f}, "
            f"wrong scene {beats(k, 2):.2f} of 40"
        )
    passed = min(beats(2, 1), beats(2, 2)) >= 0.8
    print("gate at .3 (0.80 each):", "passed" if passed else "FAILED")


STAGES = ["data", "tokenizer", "text", "vae", "unet", "align", "clip", "vit", "check"]

if __name__ == "__main__":
    for stage in STAGES if A.stage == "all" else [A.stage]:
        started = time.time()
        globals()[stage]()
        print(stage, "took", round(time.time() - started), "s", flush=True)
