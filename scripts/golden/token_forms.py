"""Token ids of tokenizers in all the forms that transformers reads, for the tests of `rpo-encoders`.

    python scripts/golden/token_forms.py [EXTRA_TEXTS.json]

Writes `crates/rpo-encoders/tests/golden/token_forms.json`: texts, and for every form the files of its folder (without the
vocabulary and merges of `assets/micro`, which the test puts in) and the ids of the texts. With a JSON list of further texts, these are
added: for a comparison on more than what is committed.

Made with transformers 5.23, tokenizers 0.23, Python 3.11.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from transformers import AddedToken, BertTokenizer, CLIPTokenizer

ROOT = Path(__file__).resolve().parents[2]
MICRO = ROOT / "assets" / "micro"
GOLDEN = ROOT / "crates" / "rpo-encoders" / "tests" / "golden" / "token_forms.json"
TABLES = {"vocab.json", "merges.txt", "vocab.txt"}

TEXTS = [
    "",
    " \t\n",
    "a photo of a dog",
    "a photo of <my-toy> dog",
    "a photo of <MY-TOY> dog",
    "<my-toy>",
    "<my-toy>_1",
    "<my-toy> <my-toy>_1 <my-toy>_2 <my-toy>_3",
    "x<my-toy>x,<my-toy>.",
    "sksX SKSX sksx asksxes sks-x",
    "a sksX, (sksX) sksX's",
    "single one singleone one single, ONE-single",
    "left   strip   x  strip",
    "strip right   strip \n x",
    "exact Exact EXACT",
    "<special> <SPECIAL> <special>",
    "<|startoftext|> a dog <|endoftext|> ! <|EndOfText|>",
    "[MASK] [mask] [CLS] a dog [SEP] [PAD]",
    "hello! world!! !",
    "caf\u00e9 cafe\u0301 \u0130stanbul stra\u00dfe \u1e9e \ufb01ne \u00c5",
    "T\u00d6ken t\u00f6ken to\u0308ken T\u00f6KEN",
    "\u72ac\u3068\u732b \u72d7 \uac15\uc544\uc9c0 \u0441\u043e\u0431\u0430\u043a\u0430",
    "\U0001f436 \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \U0001f3d6\ufe0f",
    "a\x00b\x01c\x7fd\u200be\u00adf\ufeffg\ufffdh",
    "no\u00a0break thin\u2009ideographic\u3000line\u2028para\u2029nel\x85vt\x0bff\x0c",
    "&lt;b&gt; &amp; &#39; &nbsp; <b>",
    "it's IT'S don''t '' 's 'tis rock'n'roll",
    "1234567890 \u00bd \u00b2 \u2163 \u0664\u0662",
    "x" * 120,
    "supercalifragilisticexpialidocious " * 3,
    "a,b;c:d.e!f?g/h\\i|j~k`l@m#n$o%p^q&r*s(t)u-v_w+x=y{z}",
]

FLAGS = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False, "special": False}


def dump(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False))


def added() -> list[AddedToken | str]:
    """Plain tokens, one a prefix of another, and one token for every flag."""
    return [
        "<my-toy>",
        "<my-toy>_1",
        "sksX",
        "T\u00f6ken",
        AddedToken("one", single_word=True),
        AddedToken("left", lstrip=True, rstrip=False),
        AddedToken("strip", lstrip=True, rstrip=True),
        AddedToken("Exact", normalized=False),
        AddedToken("<special>", special=True),
    ]


def fresh(kind: type, folder: Path):
    source = MICRO / ("tokenizer" if kind is CLIPTokenizer else "reward")
    folder.mkdir()
    for name in (*TABLES, "tokenizer_config.json"):
        if (source / name).exists():
            shutil.copy(source / name, folder / name)
    return folder


def version_5(kind: type, folder: Path) -> None:
    """What `save_pretrained` of transformers 5 writes."""
    tokenizer = kind.from_pretrained(fresh(kind, folder))
    tokenizer.add_tokens(added())
    shutil.rmtree(folder)
    tokenizer.save_pretrained(folder)


def version_5_special(kind: type, folder: Path) -> None:
    """Further special tokens."""
    tokenizer = kind.from_pretrained(fresh(kind, folder), extra_special_tokens=["<special>", "Exact"])
    tokenizer.add_tokens(["<my-toy>"])
    shutil.rmtree(folder)
    tokenizer.save_pretrained(folder)


def added_tokens_json(kind: type, folder: Path) -> None:
    """The layout of the slow tokenizers of transformers 4; the ids are not in the order of the file."""
    base = len(kind.from_pretrained(fresh(kind, folder)))
    dump(folder / "added_tokens.json", {"sksX": base + 2, "<my-toy>_1": base + 1, "<my-toy>": base})


def decoder(kind: type, folder: Path) -> None:
    """The layout of transformers 4.34 to 4.57; `strip` is a token of CLIP's vocabulary here, and keeps its id."""
    vocabulary = kind.from_pretrained(fresh(kind, folder)).get_vocab()
    tokens = [
        {"content": "<my-toy>", **FLAGS},
        {"content": "one", **FLAGS, "single_word": True},
        {"content": "strip", **FLAGS, "lstrip": True, "rstrip": True},
        {"content": "Exact", **FLAGS, "normalized": False},
        {"content": "<special>", **FLAGS, "normalized": False, "special": True},
        {"content": "sksX", **FLAGS},
    ]
    ids, free = {}, len(vocabulary)
    for token in tokens:
        ids[token["content"]] = vocabulary.get(token["content"], free)
        free += token["content"] not in vocabulary
    path = folder / "tokenizer_config.json"
    listed = {str(ids[token["content"]]): token for token in tokens}
    dump(path, {**json.loads(path.read_text()), "added_tokens_decoder": listed})
    dump(folder / "added_tokens.json", {text: id for text, id in ids.items() if text not in vocabulary})


def pad_in_map(kind: type, folder: Path) -> None:
    """Stable Diffusion 2: special_tokens_map.json names another pad token than tokenizer_config.json."""
    fresh(kind, folder)
    flagged = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    ends = {
        "bos_token": {"content": "<|startoftext|>", **flagged},
        "eos_token": {"content": "<|endoftext|>", **flagged},
        "unk_token": {"content": "<|endoftext|>", **flagged},
    }
    path = folder / "tokenizer_config.json"
    typed = {key: {"__type": "AddedToken", **token} for key, token in ends.items()}
    dump(path, {**json.loads(path.read_text()), **typed, "pad_token": "<|endoftext|>"})
    dump(folder / "special_tokens_map.json", {**ends, "pad_token": "!"})


FORMS = {
    "clip_5": (CLIPTokenizer, version_5),
    "clip_5_special": (CLIPTokenizer, version_5_special),
    "clip_added_tokens_json": (CLIPTokenizer, added_tokens_json),
    "clip_decoder": (CLIPTokenizer, decoder),
    "clip_pad_in_map": (CLIPTokenizer, pad_in_map),
    "bert_5": (BertTokenizer, version_5),
    "bert_5_special": (BertTokenizer, version_5_special),
    "bert_added_tokens_json": (BertTokenizer, added_tokens_json),
    "bert_decoder": (BertTokenizer, decoder),
}


def files(folder: Path) -> dict:
    """The files without tables: of these, only the names."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name in TABLES:
            found[path.name] = None
            continue
        found[path.name] = content = json.loads(path.read_text())
        if path.name == "tokenizer.json":
            content["model"]["vocab"] = {}
            content["model"].pop("merges", None)
    return found


def main() -> None:
    texts = TEXTS + (json.loads(Path(sys.argv[1]).read_text()) if len(sys.argv) > 1 else [])
    forms = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, (kind, build) in FORMS.items():
            folder = Path(scratch, name)
            build(kind, folder)
            tokenizer = kind.from_pretrained(folder)
            ids = tokenizer(texts, add_special_tokens=False).input_ids
            forms[name] = {
                "files": files(folder),
                "tokens": len(tokenizer),
                "pad": tokenizer.pad_token_id,
                "ids": [" ".join(map(str, row)) for row in ids],
            }
    GOLDEN.write_text(json.dumps({"texts": texts, "forms": forms}, indent=1) + "\n")


if __name__ == "__main__":
    main()
