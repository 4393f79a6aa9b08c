"""Reference values for the tests of `rpo-encoders`, from transformers.

    TWEMOJI=<crate twemoji-assets>/assets/72x72 python scripts/golden/encoders.py

Writes `crates/rpo-encoders/tests/golden`: pictures (drawn once, then kept), token ids, input tensors, embeddings of
`assets/micro` (float16 weights raised to float32), and tiny random models with their outputs. TWEMOJI and
`scripts/micro/world.py` are only needed for missing pictures.

Made with torch 2.15, transformers 5.23, tokenizers 0.23, Pillow 12.1, safetensors 0.8, Python 3.11, on a CPU. Pillow 13
resizes vertically first where the height shrinks much more than the width; what has been published was made before it.
"""

import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    AlignConfig,
    AlignModel,
    BertTokenizer,
    CLIPConfig,
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
    ViTConfig,
    ViTModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

ROOT = Path(__file__).resolve().parents[2]
MICRO = ROOT / "assets" / "micro"
GOLDEN = ROOT / "crates" / "rpo-encoders" / "tests" / "golden"
PICTURES = ("scene.png", "subject.png", "wide.png", "grey.png", "alpha.png")
PROCESSORS = {
    "CLIPImageProcessor": CLIPImageProcessorPil,
    "ViTImageProcessor": ViTImageProcessorPil,
    "EfficientNetImageProcessor": EfficientNetImageProcessorPil,
}

TEXTS = [
    "",
    " ",
    "a photo of a dog",
    "A Photo OF a DOG",
    "a [v] backpack in the snow",
    "a [V] backpack in the snow",
    "a red car wearing a top hat on a wooden floor",
    "a photo of a blue teapot with a mountain in the background",
    "  leading, trailing and   inner\tspaces\n",
    "it's the dog's bowl",
    "we've they're I'm you'll he'd don't can't",
    "IT'S THE DOG'S BOWL",
    "\u2018curly\u2019 and \u201cdouble\u201d quotes",
    "1234567890",
    "3 cats, 42 dogs and 007",
    "v1.5-beta_2 (final).png",
    "hello!",
    "hello! world!! !",
    "what?! no... yes; maybe: ok",
    "a/b\\c|d",
    "<html><b>bold</b></html>",
    "email@example.com #tag $5 50% ^ & * ( ) _ + = ~ `",
    "caf\u00e9 na\u00efve r\u00e9sum\u00e9 \u00fcber \u00c5ngstr\u00f6m",
    "cafe\u0301 nai\u0308ve",
    "\u00dcBER STRASSE stra\u00dfe \u0130stanbul",
    "\ufb01ne \ufb02ower",
    "\u72ac\u3068\u732b\u306e\u5199\u771f",
    "\u4e00\u53ea\u72d7 in the snow",
    "\uac15\uc544\uc9c0 \uc0ac\uc9c4",
    "\u0441\u043e\u0431\u0430\u043a\u0430 \u0432 \u0421\u041d\u0415\u0413\u0423",
    "\u03ba\u03cd\u03c9\u03bd \u03a3\u039f\u03a6\u039f\u03a3",
    "\u05db\u05dc\u05d1 \u0628\u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "\u0e2a\u0e38\u0e19\u0e31\u0e02",
    "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\U0001f436",
    "a \U0001f436 on the beach \U0001f3d6\ufe0f",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 family",
    "\U0001f1e9\U0001f1ea flag",
    "zero\u200bwidth non\u00a0breaking thin\u2009space",
    "soft\u00adhyphen",
    "\ufeffbyte order mark",
    "control\x01char\x7f",
    "null\x00char",
    "line\r\nbreak\u2028separator",
    "\u00bd \u00b2 \u2163 \u0664\u0662 \u2460",
    "em\u2014dash en\u2013dash hyphen-ated",
    "ellipsis\u2026 bullet\u2022",
    "<|startoftext|>",
    "<|endoftext|>",
    "a <|endoftext|> in the middle",
    "<|EndOfText|> upper",
    "[CLS] a dog [SEP]",
    "[MASK] [PAD] [UNK]",
    "[v][v] [v",
    "]v[",
    "word " * 60,
    "x" * 150,
    "supercalifragilisticexpialidocious",
    "dogcatmouse",
    "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z",
    "don''t ''' 'sword 's",
    "'tis the season; 'twas",
    "rock'n'roll o'clock",
    "a  a",
    "A",
    "!",
    "\u00c0\u00c1\u00c2\u00c3\u00c4 \u00e0\u00e1\u00e2\u00e3\u00e4",
    "\u1e9e \u01c5 \u2126",
    "a pink owl in a wheat field wearing sunglasses and a crown at night under water",
    "the penguin, with autumn leaves (on a purple rug).",
]

PROMPTS = [
    "a dog in the snow",
    "a photo of a [v] backpack on the beach",
    "a red car wearing a top hat in a city",
    "",
    "a pink owl in a wheat field wearing sunglasses and a crown at night under water on a street in the jungle with "
    "autumn leaves on a wooden floor and a photo of a blue teapot",
]


def pixels(generator: random.Random, width: int, height: int, channels: int) -> np.ndarray:
    """Smooth waves with hard rectangles: both what a filter blurs and what it makes ring."""
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for _ in range(channels):
        fx, fy = generator.uniform(0.02, 0.3), generator.uniform(0.02, 0.3)
        planes.append(127.5 + 127.5 * np.sin(fx * x + fy * y + generator.uniform(0, 6)))
    picture = np.stack(planes, -1)
    for _ in range(6):
        left, top = generator.randrange(width - 8), generator.randrange(height - 8)
        w, h = generator.randint(2, width // 3), generator.randint(2, height // 3)
        picture[top : top + h, left : left + w] = [generator.choice((0, 255)) for _ in range(channels)]
    return picture.astype("uint8")


def draw_pictures() -> None:
    folder = GOLDEN / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "scene.png").exists() or not (folder / "subject.png").exists():
        sys.path.insert(0, str(ROOT / "scripts" / "micro"))
        import world

        generator = random.Random(1)
        world.render(generator, world.SPR["dog"], "in the snow").save(folder / "scene.png")
        sprite = world.pattern(world.SPR["backpack"], "spots", 0.5, 7)
        world.render(generator, sprite, "on the beach").save(folder / "subject.png")
    generator = random.Random(2)
    drawn = {
        "wide.png": Image.fromarray(pixels(generator, 200, 150, 3)),
        "grey.png": Image.fromarray(pixels(generator, 48, 80, 1)[..., 0]),
        "alpha.png": Image.fromarray(pixels(generator, 90, 61, 4)),
    }
    for name, picture in drawn.items():
        if not (folder / name).exists():
            picture.save(folder / name, optimize=True)


def load_picture(name: str) -> Image.Image:
    """RGB as Pillow converts it: grey is repeated, alpha is dropped."""
    return Image.open(GOLDEN / "pictures" / name).convert("RGB")


def micro_pixels(folder: str) -> torch.Tensor:
    config = json.loads((MICRO / folder / "preprocessor_config.json").read_text())
    processor = PROCESSORS[config.pop("image_processor_type")](**config)
    return processor([load_picture(name) for name in PICTURES], return_tensors="pt").pixel_values


def processor_cases() -> None:
    """Sizes, filters, crops and rescalings; the test writes each config to a folder and loads it."""
    clip, vit, efficient = PROCESSORS
    cases = [
        ("wide.png", clip, {"size": {"shortest_edge": 40}, "crop_size": {"height": 40, "width": 40}}),
        ("alpha.png", clip, {"size": {"shortest_edge": 33}, "resample": 2, "crop_size": {"height": 20, "width": 45}}),
        ("grey.png", clip, {"size": {"shortest_edge": 31}, "resample": 1, "do_center_crop": False}),
        ("scene.png", clip, {"size": {"height": 48, "width": 36}, "do_center_crop": False, "do_normalize": False}),
        ("grey.png", clip, {"do_resize": False, "crop_size": {"height": 61, "width": 65}}),
        ("wide.png", vit, {"size": {"height": 37, "width": 41}}),
        ("subject.png", vit, {"size": {"height": 50, "width": 90}, "resample": 1}),
        ("wide.png", vit, {"size": {"height": 29, "width": 47}, "resample": 0}),
        ("grey.png", vit, {"size": {"height": 53, "width": 101}, "resample": 0}),
        ("alpha.png", vit, {"size": {"height": 40, "width": 40}, "resample": 4}),
        ("wide.png", vit, {"size": {"height": 45, "width": 38}, "resample": 5, "do_rescale": False}),
        ("wide.png", efficient, {"size": {"height": 40, "width": 40}}),
        (
            "alpha.png",
            efficient,
            {
                "size": {"height": 46, "width": 46},
                "resample": 0,
                "do_center_crop": True,
                "crop_size": {"height": 39, "width": 39},
                "rescale_factor": 1 / 127.5,
                "rescale_offset": True,
                "do_normalize": False,
                "include_top": False,
            },
        ),
    ]
    described, tensors = [], {}
    for index, (picture, kind, config) in enumerate(cases):
        processor = PROCESSORS[kind](**config)
        values = processor([load_picture(picture)], return_tensors="pt").pixel_values[0]
        tensors[f"{index}"] = values.permute(1, 2, 0).contiguous().float()
        described.append({"picture": picture, "config": {"image_processor_type": kind, **config}})
    (GOLDEN / "processor_cases.json").write_text(json.dumps(described, indent=1) + "\n")
    save_file(tensors, GOLDEN / "processor_cases.safetensors")


def flagged(content: str) -> dict:
    """A special token as the Stable Diffusion folders write it."""
    return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}


def clip_with(folder: Path, **special: str | dict) -> CLIPTokenizer:
    """The micro tokenizer with other special tokens."""
    shutil.copytree(MICRO / "tokenizer", folder, dirs_exist_ok=True)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, **special}))
    return CLIPTokenizer.from_pretrained(folder)


def bert_with(folder: Path, **options: bool) -> BertTokenizer:
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(MICRO / "reward" / name, folder / name)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **options}))
    return BertTokenizer.from_pretrained(folder)


def tokens() -> None:
    options = {"padding": "max_length", "truncation": True}
    bos, eos = flagged("<|startoftext|>"), flagged("<|endoftext|>")
    objects = {"bos_token": bos, "eos_token": eos, "unk_token": eos}
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder, name) for name in ("exclamation", "sd1", "sd2", "cased")]
        folders[3].mkdir()
        clips = {
            "tokenizer": CLIPTokenizer.from_pretrained(MICRO / "tokenizer"),
            "eval_clip": CLIPTokenizer.from_pretrained(MICRO / "eval_clip"),
            "pad_exclamation": clip_with(folders[0], pad_token="!"),
            "sd1": clip_with(folders[1], **objects, pad_token="<|endoftext|>"),
            "sd2": clip_with(folders[2], **objects, pad_token="!"),
        }
        cased = {"do_lower_case": False, "strip_accents": True, "tokenize_chinese_chars": False}
        berts = {
            "reward": BertTokenizer.from_pretrained(MICRO / "reward"),
            "cased": bert_with(folders[3], **cased),
        }
    result = {"texts": TEXTS}
    for name, tokenizer in {**clips, **berts}.items():
        encoded = tokenizer(TEXTS, **options)
        assert {len(ids) for ids in encoded.input_ids} == {tokenizer.model_max_length}, name
        result[name] = [" ".join(map(str, ids)) for ids in encoded.input_ids]
        if name in berts:
            result[name + "_length"] = [sum(mask) for mask in encoded.attention_mask]
    (GOLDEN / "tokens.json").write_text(json.dumps(result, indent=1) + "\n")


def unit(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(x, dim=-1).contiguous()


@torch.no_grad()
def micro_embeddings() -> None:
    f32 = {"dtype": torch.float32}
    options = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    out = {}
    align = AlignModel.from_pretrained(MICRO / "reward", **f32).eval()
    query = BertTokenizer.from_pretrained(MICRO / "reward")(PROMPTS, **options)
    pixel_values = micro_pixels("reward")
    out["reward_pixels"] = pixel_values.permute(0, 2, 3, 1).contiguous()
    out["reward_image"] = unit(align.get_image_features(pixel_values=pixel_values).pooler_output)
    out["reward_text"] = unit(align.get_text_features(**query).pooler_output)
    clip = CLIPModel.from_pretrained(MICRO / "eval_clip", **f32).eval()
    query = CLIPTokenizer.from_pretrained(MICRO / "eval_clip")(PROMPTS, **options)
    out["eval_clip_image"] = unit(clip.get_image_features(pixel_values=micro_pixels("eval_clip")).pooler_output)
    out["eval_clip_text"] = unit(clip.get_text_features(**query).pooler_output)
    vit = ViTModel.from_pretrained(MICRO / "eval_dino", add_pooling_layer=False, **f32).eval()
    out["eval_dino_image"] = unit(vit(pixel_values=micro_pixels("eval_dino")).last_hidden_state[:, 0])
    text = CLIPTextModel.from_pretrained(MICRO / "text_encoder", **f32).eval()
    query = CLIPTokenizer.from_pretrained(MICRO / "tokenizer")(PROMPTS, **options)
    encoded = text(input_ids=query.input_ids)
    out["text_encoder_last_hidden_state"] = encoded.last_hidden_state.contiguous()
    out["text_encoder_pooled"] = encoded.pooler_output.contiguous()
    save_file(out, GOLDEN / "micro.safetensors")
    (GOLDEN / "micro.json").write_text(json.dumps({"pictures": PICTURES, "prompts": PROMPTS}, indent=1) + "\n")


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Weights large enough that every part of the network shows in the output."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            value = 0.5 + noise.abs()
        elif tensor.ndim >= 2:
            value = noise * (1.5 / max(1, tensor[0].numel()) ** 0.5)
        else:
            value = tensor + 0.2 * noise
        tensor.copy_(value)


@torch.no_grad()
def tiny_clip() -> None:
    """gelu, widths that differ, the pad id in the middle of the vocabulary, and both ways to find EOS."""
    config = CLIPConfig(
        text_config={
            "vocab_size": 50,
            "hidden_size": 24,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "max_position_embeddings": 12,
            "hidden_act": "gelu",
            "eos_token_id": 2,
            "bos_token_id": 48,
            "pad_token_id": 0,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 30,
            "patch_size": 7,
            "hidden_act": "gelu",
        },
        projection_dim=20,
    )
    model = CLIPModel(config).eval()
    randomise(model, 1)
    model.save_pretrained(GOLDEN / "tiny_clip")
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(3, 48, (3, 12), generator=generator)
    ids[:, 0] = 48
    for row, length in enumerate((4, 9, 11)):
        ids[row, length] = 49
        ids[row, length + 1 :] = 0
    pixel_values = torch.randn((2, 3, 30, 30), generator=generator)
    out = {
        "ids": ids.to(torch.int32),
        "pixels": pixel_values.permute(0, 2, 3, 1).contiguous(),
        "image_features": model.get_image_features(pixel_values=pixel_values).pooler_output,
        "vision_last_hidden_state": model.vision_model(pixel_values=pixel_values).last_hidden_state,
        "text_last_hidden_state": model.text_model(input_ids=ids).last_hidden_state,
        "text_features": model.get_text_features(input_ids=ids).pooler_output,
    }
    model.text_model.eos_token_id = 7
    ids[:, 5] = 7
    ids[1, 3] = 7
    out["ids_eos_7"] = ids.to(torch.int32)
    out["text_features_eos_7"] = model.get_text_features(input_ids=ids).pooler_output
    save_file({name: value.contiguous() for name, value in out.items()}, GOLDEN / "tiny_clip.safetensors")


@torch.no_grad()
def tiny_align() -> None:
    """Width and depth coefficients, odd sizes, every kernel size, both paddings, max pooling, another activation."""
    config = AlignConfig(
        projection_dim=12,
        text_config={
            "vocab_size": 40,
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 36,
            "max_position_embeddings": 10,
            "hidden_act": "gelu_new",
            "layer_norm_eps": 1e-5,
        },
        vision_config={
            "image_size": 45,
            "width_coefficient": 0.35,
            "depth_coefficient": 1.4,
            "depth_divisor": 4,
            "in_channels": [32, 16, 24, 40],
            "out_channels": [16, 24, 40, 34],
            "kernel_sizes": [3, 5, 3, 7],
            "strides": [1, 2, 2, 2],
            "num_block_repeats": [1, 2, 1, 1],
            "expand_ratios": [1, 4, 3, 2],
            "depthwise_padding": [2, 5],
            "squeeze_expansion_ratio": 0.3,
            "pooling_type": "max",
            "hidden_dim": 64,
            "batch_norm_eps": 0.002,
            "drop_connect_rate": 0.3,
        },
    )
    model = AlignModel(config).eval()
    randomise(model, 3)
    model.save_pretrained(GOLDEN / "tiny_align")
    generator = torch.Generator().manual_seed(4)
    ids = torch.randint(1, 40, (3, 10), generator=generator)
    mask = (torch.arange(10)[None] < torch.tensor([[4], [10], [2]])).long()
    pixel_values = torch.randn((2, 3, 45, 37), generator=generator)
    vision = model.vision_model(pixel_values=pixel_values)
    out = {
        "ids": ids.to(torch.int32),
        "mask": mask.to(torch.int32),
        "pixels": pixel_values.permute(0, 2, 3, 1),
        "image_last_hidden_state": vision.last_hidden_state.permute(0, 2, 3, 1),
        "image_features": vision.pooler_output,
        "text_features": model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output,
    }
    model.vision_model.pooler = torch.nn.AvgPool2d(64, ceil_mode=True)
    out["image_features_mean"] = model.vision_model(pixel_values=pixel_values).pooler_output
    save_file({name: value.contiguous() for name, value in out.items()}, GOLDEN / "tiny_align.safetensors")


@torch.no_grad()
def tiny_vit() -> None:
    """No bias in the attention, an image that is not square."""
    config = ViTConfig(
        hidden_size=30,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=44,
        image_size=[24, 36],
        patch_size=6,
        qkv_bias=False,
        layer_norm_eps=1e-6,
    )
    model = ViTModel(config, add_pooling_layer=True).eval()
    randomise(model, 5)
    model.save_pretrained(GOLDEN / "tiny_vit")
    pixel_values = torch.randn((2, 3, 24, 36), generator=torch.Generator().manual_seed(6))
    out = {
        "pixels": pixel_values.permute(0, 2, 3, 1),
        "last_hidden_state": model(pixel_values=pixel_values).last_hidden_state,
    }
    save_file({name: value.contiguous() for name, value in out.items()}, GOLDEN / "tiny_vit.safetensors")


def main() -> None:
    torch.manual_seed(0)
    GOLDEN.mkdir(parents=True, exist_ok=True)
    draw_pictures()
    processor_cases()
    tokens()
    micro_embeddings()
    tiny_clip()
    tiny_align()
    tiny_vit()


if __name__ == "__main__":
    main()
