"""Folders of the published encoders at their true sizes, with random weights.

`build(name, folder)` writes what a download of the repository holds: `config.json`, `model.safetensors`,
`preprocessor_config.json` and the tokenizer's files, with the keys and layouts of the published files, old spellings
included. The vocabularies have the published sizes and are learnt from the Python documentation strings at hand.

Made with torch 2.15, transformers 5.23, tokenizers 0.23, safetensors 0.8, Python 3.11.
"""

import json
import sysconfig
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AlignConfig, AlignModel, CLIPConfig, CLIPModel, ViTConfig, ViTModel

from picture_files import photo

NAMES = ("align-base", "clip-vit-base-patch32", "clip-vit-base-patch16", "clip-vit-large-patch14", "dino-vits16")

# hidden, layers, heads of the vision tower; patch; hidden, layers, heads of the text tower; common width.
CLIP = {
    "clip-vit-base-patch32": (768, 12, 12, 32, 512, 12, 8, 512),
    "clip-vit-base-patch16": (768, 12, 12, 16, 512, 12, 8, 512),
    "clip-vit-large-patch14": (1024, 24, 16, 14, 768, 12, 12, 768),
}
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def build(name: str, folder: Path, seed: int = 0) -> None:
    """Writes the folder of one published encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    if name == "align-base":
        align(folder, seed)
    elif name in CLIP:
        clip(name, folder, seed)
    elif name == "dino-vits16":
        dino(folder, seed)
    else:
        raise ValueError(f"{name}: one of {', '.join(NAMES)}")


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int) -> None:
    """Weights that keep the size of what passes through them, so that every part shows in the output: products of
    gain 1, norms about 1, biases and batch statistics that are not trivial."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point() or name == "logit_scale" or name == "temperature":
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            value = 0.5 + noise.abs()
        elif name.endswith("running_mean"):
            value = 0.1 * noise
        elif "embedding" in name and tensor.ndim == 2:
            value = 0.5 * noise
        elif tensor.ndim >= 2:
            value = noise / tensor[0].numel() ** 0.5
        elif name.endswith("bias"):
            # After a batch norm a bias is the same for all pictures, and what tells them apart is small.
            value = (0.01 if "norm" in name or "_bn" in name else 0.1) * noise
        else:
            # What 55 blocks add stays small beside what passes them by, as in trained networks: else the last bits of the
            # input decide the output.
            value = (0.3 if "project_bn" in name else 1.0) * (1.0 + 0.1 * noise)
        tensor.copy_(value)


@torch.no_grad()
def calibrate(model: torch.nn.Module, pixels: torch.Tensor) -> None:
    """Batch norms with the statistics of what passes them, each off by some percent: as after training, nothing fades."""
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    model(pixel_values=pixels)
    generator = torch.Generator().manual_seed(1)
    for norm, momentum in zip(norms, before):
        norm.eval()
        norm.momentum = momentum
        norm.running_mean.add_(0.01 * norm.running_var.sqrt() * torch.randn(norm.num_features, generator=generator))
        norm.running_var.mul_(1.0 + 0.1 * torch.rand(norm.num_features, generator=generator))


def dump(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def save(model: torch.nn.Module, folder: Path, dtype: torch.dtype, extra: dict[str, torch.Tensor]) -> None:
    """The weights as transformers writes them, with the buffers that older versions wrote beside them."""
    model.to(dtype).save_pretrained(folder)
    from safetensors.torch import load_file

    tensors = load_file(folder / "model.safetensors")
    tensors.update({name: tensor for name, tensor in extra.items() if name not in tensors})
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    for name in ("generation_config.json", "tokenizer.json"):
        (folder / name).unlink(missing_ok=True)


def align(folder: Path, seed: int) -> None:
    """kakaobrain/align-base: EfficientNet-B7 at 289 px with a pooling window of 640, BERT-base."""
    config = AlignConfig(
        text_config={"vocab_size": 30522},
        vision_config={"image_size": 289, "hidden_dim": 640},
        projection_dim=640,
    )
    model = AlignModel(config).eval()
    randomise(model, seed)
    photos = [np.asarray(photo(100 + i, 289, 289), dtype=np.float32) / 127.5 - 1.0 for i in range(4)]
    calibrate(model.vision_model, torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).contiguous())
    save(model, folder, torch.float32, {"text_model.embeddings.position_ids": torch.arange(512)[None]})
    dump(
        folder / "preprocessor_config.json",
        {
            "crop_size": {"height": 289, "width": 289},
            "do_center_crop": True,
            "do_normalize": False,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_processor_type": "EfficientNetImageProcessor",
            "image_std": [0.5, 0.5, 0.5],
            "include_top": False,
            "processor_class": "AlignProcessor",
            "resample": 2,
            "rescale_factor": 0.00784313725490196,
            "rescale_offset": True,
            "size": {"height": 346, "width": 346},
        },
    )
    wordpiece(folder)


def clip(name: str, folder: Path, seed: int) -> None:
    """openai/clip-vit-*: the configs name both `text_config` and the older `text_config_dict`; L/14 in float16."""
    hidden, layers, heads, patch, text_hidden, text_layers, text_heads, width = CLIP[name]
    text = {
        "hidden_size": text_hidden,
        "intermediate_size": 4 * text_hidden,
        "num_hidden_layers": text_layers,
        "num_attention_heads": text_heads,
        "projection_dim": width,
    }
    vision = {
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "patch_size": patch,
        "projection_dim": width,
    }
    ids = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    model = CLIPModel(CLIPConfig(text_config={**text, **ids}, vision_config=vision, projection_dim=width)).eval()
    randomise(model, seed)
    positions = {
        "text_model.embeddings.position_ids": torch.arange(77)[None],
        "vision_model.embeddings.position_ids": torch.arange((224 // patch) ** 2 + 1)[None],
    }
    large = name == "clip-vit-large-patch14"
    save(model, folder, torch.float16 if large else torch.float32, positions)
    config = json.loads((folder / "config.json").read_text())
    config["text_config_dict"], config["vision_config_dict"] = (text, vision) if large else (None, None)
    dump(folder / "config.json", config)
    dump(
        folder / "preprocessor_config.json",
        {
            "crop_size": 224,
            "do_center_crop": True,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "CLIPFeatureExtractor",
            "image_mean": CLIP_MEAN,
            "image_std": CLIP_STD,
            "resample": 3,
            "size": 224,
        },
    )
    byte_pairs(folder)


def dino(folder: Path, seed: int) -> None:
    """facebook/dino-vits16, with a pooling layer that nothing reads."""
    config = ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536)
    model = ViTModel(config, add_pooling_layer=True).eval()
    randomise(model, seed)
    save(model, folder, torch.float32, {})
    dump(
        folder / "preprocessor_config.json",
        {
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "ViTFeatureExtractor",
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
            "resample": 2,
            "size": 224,
        },
    )


def prose() -> list[str]:
    """Text to learn vocabularies from: the sources of the standard library, in a fixed order."""
    library = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(p for p in library.rglob("*.py") if "site-packages" not in p.parts)
    return [path.read_text(encoding="utf-8", errors="replace") for path in files]


def byte_pairs(folder: Path) -> None:
    """`vocab.json` and `merges.txt` of 49,408 tokens, without `tokenizer.json`."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                __import__("tokenizers").Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"),
                "removed",
                invert=True,
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=49406, end_of_word_suffix="</w>", initial_alphabet=letters, show_progress=False, min_frequency=1
    )
    tokenizer.train_from_iterator(prose(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    tokens = letters + [letter + "</w>" for letter in letters]
    seen = set(tokens)
    for merge in merges:
        token = merge.replace(" ", "")
        if token not in seen:
            seen.add(token)
            tokens.append(token)
    tokens = tokens[:49406]
    tokens += [f"<filler {i}>" for i in range(49406 - len(tokens))] + ["<|startoftext|>", "<|endoftext|>"]
    known = set(tokens)
    merges = [merge for merge in merges if merge.replace(" ", "") in known]
    dump(folder / "vocab.json", {token: i for i, token in enumerate(tokens)})
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True}
    special = {
        "bos_token": {"content": "<|startoftext|>", **flags},
        "eos_token": {"content": "<|endoftext|>", **flags},
        "unk_token": {"content": "<|endoftext|>", **flags},
    }
    dump(folder / "special_tokens_map.json", {**special, "pad_token": "<|endoftext|>"})
    typed = {key: {**value, "__type": "AddedToken"} for key, value in special.items()}
    dump(
        folder / "tokenizer_config.json",
        {
            **typed,
            "pad_token": "<|endoftext|>",
            "add_prefix_space": False,
            "errors": "replace",
            "do_lower_case": True,
            "name_or_path": "openai/clip-vit-base-patch32",
            "model_max_length": 77,
            "special_tokens_map_file": "./special_tokens_map.json",
            "tokenizer_class": "CLIPTokenizer",
        },
    )


def wordpiece(folder: Path) -> None:
    """`vocab.txt` of 30,522 pieces with BERT's special tokens at BERT's places; texts of at most 64 tokens."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=29528, show_progress=False, min_frequency=1)
    tokenizer.train_from_iterator(prose(), trainer)
    pieces = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    special = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    head = ["[PAD]", *(f"[unused{i}]" for i in range(99)), *special, *(f"[unused{i}]" for i in range(99, 994))]
    tokens = (head + [piece for piece in pieces if piece not in special])[:30522]
    tokens += [f"[filler{i}]" for i in range(30522 - len(tokens))]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    names = {"cls": "[CLS]", "mask": "[MASK]", "pad": "[PAD]", "sep": "[SEP]", "unk": "[UNK]"}
    special_map = {f"{key}_token": value for key, value in names.items()}
    dump(folder / "special_tokens_map.json", special_map)
    dump(
        folder / "tokenizer_config.json",
        {
            **special_map,
            "do_basic_tokenize": True,
            "do_lower_case": True,
            "model_max_length": 64,
            "never_split": None,
            "strip_accents": None,
            "tokenize_chinese_chars": True,
            "tokenizer_class": "BertTokenizer",
        },
    )
