"""Golden pictures of StickerBench: the scenes, stickers and whole pictures of scripts/micro/world.py.

Writes into crates/rpo-data/tests/golden:
- stickers.json: the parameters of every case (the structures of rpo_data::stickerbench::world::Picture);
- stickers.png: their pictures, 64 x 64 each, 12 a row in the order of the file;
- resized.png: a part of stickers.png resized by Pillow to the sizes in RESIZED, with each filter, below one another;
- cmyk.jpg: a red CMYK photo as image programs write it.

Cases: every scene three times; every accessory, pattern, colour and tree; 76 nouns, one each. The seed is fixed.
Made with Python 3, Pillow 13.0, numpy 2 and twemoji-assets 1.5.1. From the root of the workspace:

    TWEMOJI=<crate twemoji-assets>/assets/72x72 python scripts/golden/stickers.py
"""

import json
import os
import random
import sys

from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "scripts", "micro"))
import world as W  # noqa: E402

OUT = os.path.join(ROOT, "crates", "rpo-data", "tests", "golden")
ROW = 12
PART = (0, 0, 301, 203)  # of stickers.png
RESIZED = [(64, 64), (33, 70), (97, 21), (310, 230)]


def case(R, index):
    """The parameters of one picture. The index runs through everything that there is a list of."""
    look = {"noun": W.NAMES[index % len(W.NAMES)]}
    if index % 3 == 1:
        hue = list(W.COL.values())[index // 3 % len(W.COL)] + R.uniform(-0.02, 0.02)
        look["tint"] = {"hue": hue, "value": 0.85}
    elif index % 6 == 2:
        look["tint"] = {"hue": R.random(), "value": R.uniform(0.6, 1)}
    if index % 2:
        kind = W.PAT[index // 2 % len(W.PAT)]
        look["pattern"] = {"kind": kind, "hue": R.random()}
        if kind == "spots":
            look["pattern"]["spots"] = W.pattern_spots(R.randrange(1 << 30))
    sticker = {"look": look}
    if index % 5 < 2:
        sticker["accessory"] = list(W.ACC)[index // 5 % len(W.ACC)]
    scene = W.scene_params(W.SCN[index % len(W.SCN)], R)
    sticker["place"] = W.place_params(R)
    return {"scene": scene, "sticker": sticker}


def draw(p):
    look = p["sticker"]["look"]
    sprite = W.SPR[look["noun"]]
    if "tint" in look:
        sprite = W.tint(sprite, look["tint"]["hue"], look["tint"]["value"])
    if "pattern" in look:
        pattern = look["pattern"]
        sprite = W.draw_pattern(sprite, pattern["kind"], pattern["hue"], pattern.get("spots", ()))
    return W.draw(p["scene"], sprite, p["sticker"]["place"], p["sticker"].get("accessory"))


def main():
    R = random.Random(20)
    cases = [case(R, index) for index in range(len(W.NAMES))]
    accessories = {p["sticker"].get("accessory") for p in cases}
    patterns = {p["sticker"]["look"].get("pattern", {}).get("kind") for p in cases}
    trees = {t["kind"] for p in cases for t in p["scene"].get("trees", [])}
    assert accessories == {None, *W.ACC} and patterns == {None, *W.PAT} and trees == set(W.TREES)
    assert {p["scene"]["scene"] for p in cases} == set(W.SCN)
    rows = -(-len(cases) // ROW)
    sheet = Image.new("RGB", (W.S * ROW, W.S * rows))
    for index, p in enumerate(cases):
        sheet.paste(draw(p), (index % ROW * W.S, index // ROW * W.S))
    os.makedirs(OUT, exist_ok=True)
    sheet.save(os.path.join(OUT, "stickers.png"), optimize=True)
    resized = Image.new("RGB", (310, 3 * sum(h for _, h in RESIZED)))
    top = 0
    for name in ("BILINEAR", "BICUBIC", "LANCZOS"):
        for size in RESIZED:
            resized.paste(sheet.crop(PART).resize(size, Image.Resampling[name]), (0, top))
            top += size[1]
    resized.save(os.path.join(OUT, "resized.png"), optimize=True)
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(os.path.join(OUT, "cmyk.jpg"), quality=90)
    with open(os.path.join(OUT, "stickers.json"), "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(p) for p in cases) + "\n]\n")
    print(f"{len(cases)} cases")


if __name__ == "__main__":
    main()
