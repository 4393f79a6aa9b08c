"""StickerBench: captioned 64 x 64 scenes, each with one Twemoji sticker.

Every picture is made in two steps: a `*_params` function draws all its random numbers and returns them as plain JSON,
and a `draw_*` function turns them into pixels without drawing any. The crate rpo-data has the same two steps; its tests
hold its pixels against the ones made here (`scripts/golden/stickers.py`).

Needs Pillow and numpy, and the folder `assets/72x72` of the crate twemoji-assets 1.5.1 in the variable TWEMOJI.
Twemoji graphics: Copyright Twitter, Inc and other contributors, CC-BY 4.0.
"""

import colorsys
import json
import os
import random

import numpy as np
from PIL import Image, ImageDraw

ASSETS = os.environ["TWEMOJI"]
HERE = os.path.dirname(os.path.abspath(__file__))
S = 64  # side of a picture

with open(os.path.join(HERE, "objects.json")) as file:
    OBJECTS = json.load(file)  # noun -> file in ASSETS


def load_sticker(file_name):
    return Image.open(os.path.join(ASSETS, file_name)).convert("RGBA")


NAMES = sorted(OBJECTS)
SPR = {noun: load_sticker(OBJECTS[noun]) for noun in NAMES}
TREES = ["fir", "tree", "palm"]
TREE = [load_sticker(f) for f in ("1f332.png", "1f333.png", "1f334.png")]
COL = {"red": 0, "orange": 0.08, "yellow": 0.15, "green": 0.33, "cyan": 0.5, "blue": 0.62, "purple": 0.77, "pink": 0.9}
ACC = {
    "a top hat": "1f3a9.png",
    "a crown": "1f451.png",
    "sunglasses": "1f576.png",
    "a graduation cap": "1f393.png",
    "a bow": "1f380.png",
}
ACC_STICKER = {words: load_sticker(f) for words, f in ACC.items()}
PAT = ["stripes", "spots", "checks", "halves"]
LOOK = {"stripes": "striped", "spots": "spotted", "checks": "checked", "halves": "twotone"}

# scene -> colours of the sky from top to bottom, and of the ground
SKY = {
    "in the jungle": ((60, 120, 50), (30, 90, 40), (40, 80, 30), (20, 50, 20)),
    "in the snow": ((190, 215, 240), (225, 235, 250), (250, 250, 255), (230, 238, 248)),
    "on the beach": ((90, 180, 240), (160, 220, 250), (240, 215, 150), (225, 190, 120)),
    "in a city": ((150, 180, 210), (210, 215, 220), (110, 110, 115), (80, 80, 85)),
    "in the desert": ((120, 190, 250), (250, 220, 180), (225, 160, 90), (190, 120, 60)),
    "at night": ((5, 5, 30), (15, 15, 60), (20, 30, 30), (10, 15, 15)),
    "on the moon": ((0, 0, 0), (5, 5, 10), (150, 150, 150), (110, 110, 110)),
    "under water": None,
    "on a wooden floor": ((230, 220, 200), (215, 205, 190), (170, 110, 60), (140, 85, 45)),
    "on a purple rug": ((225, 225, 220), (205, 205, 200), (120, 40, 150), (90, 20, 120)),
    "in a wheat field": ((130, 190, 240), (200, 225, 245), (230, 190, 70), (200, 150, 40)),
    "with a mountain in the background": ((120, 180, 240), (190, 215, 240), (90, 160, 70), (60, 120, 50)),
    "on a street": ((180, 200, 220), (200, 210, 220), (90, 90, 95), (60, 60, 65)),
    "with autumn leaves": ((200, 210, 230), (220, 215, 200), (170, 100, 40), (140, 70, 30)),
    "on green grass": ((140, 200, 250), (200, 230, 250), (90, 190, 70), (60, 150, 50)),
    "on a pink blanket": None,
}
# scenes of one colour gradient, without a horizon
PLAIN = {"under water": ((40, 150, 220), (5, 40, 110)), "on a pink blanket": ((245, 170, 195), (230, 140, 175))}
SCN = list(SKY)
FACADES = [(90, 100, 120), (130, 110, 100), (70, 80, 95), (150, 150, 160)]
# scene -> number of trees, kinds to choose from
WOODS = {
    "in the jungle": (5, [2, 1]),
    "in the snow": (2, [0]),
    "on the beach": (1, [2]),
    "with autumn leaves": (3, [1]),
}
AUTUMN = [0.03, 0.08, 0.12]


# ---------------------------------------------------------------------------------------------------------------- scene
def scene_params(name, R):
    """Every random draw of a scene, in the order in which they are made."""
    horizon = R.randint(26, 42)
    p = {"scene": name, "horizon": horizon}
    if name in ("in a city", "on a street"):
        p["buildings"] = []
        x = 0
        while x < S:
            width, height = R.randint(6, 13), R.randint(8, horizon - 4)
            facade = FACADES.index(R.choice(FACADES))
            p["buildings"].append({"width": width, "height": height, "facade": facade})
            x += width + 1
        if name == "on a street":
            p["dash"] = R.randint(0, 8)
    if name in ("at night", "on the moon"):
        p["stars"] = [[R.randrange(S), R.randrange(horizon)] for _ in range(16)]
        p["orb"] = R.randrange(6, 50)
        if name == "on the moon":
            p["craters"] = [[R.randrange(S), R.randrange(horizon + 4, S), R.randint(2, 5)] for _ in range(5)]
    if name == "under water":
        p["bubbles"] = [[R.randrange(S), R.randrange(S), R.randint(1, 3)] for _ in range(10)]
    if "mountain" in name:
        p["mountains"] = [[R.randrange(5, 58), R.randint(14, 22), R.randint(14, 22)] for _ in range(2)]
    if name == "in the desert":
        p["orb"] = R.randrange(5, 52)
    count, kinds = WOODS.get(name, (0, []))
    if count:
        p["trees"] = []
    for _ in range(count):
        kind, size = R.choice(kinds), R.randint(16, 30)
        hue = R.choice(AUTUMN) if name == "with autumn leaves" else None
        p["trees"].append({"kind": TREES[kind], "size": size, "hue": hue, "x": R.randint(0, S - size)})
    return p


def gradient(top, bottom):
    a = np.linspace(0, 1, S)[:, None, None]
    return np.repeat(np.array(top) * (1 - a) + np.array(bottom) * a, S, 1)


def draw_scene(p):
    name, hz = p["scene"], p["horizon"]
    if name in PLAIN:
        a = gradient(*PLAIN[name])
    else:
        sky_top, sky_bottom, ground_top, ground_bottom = SKY[name]
        a = gradient(sky_top, sky_bottom)
        a[hz:] = gradient(ground_top, ground_bottom)[hz:]
    if name == "on the beach":
        a[hz - 5 : hz] = (30, 120, 200)
    im = Image.fromarray(a.astype("uint8")).convert("RGBA")
    d = ImageDraw.Draw(im)
    x = 0
    for b in p.get("buildings", []):
        w, h = b["width"], b["height"]
        d.rectangle([x, hz - h, x + w, hz], fill=FACADES[b["facade"]])
        for yy in range(hz - h + 2, hz - 1, 4):
            for xx in range(x + 2, x + w - 1, 4):
                d.point((xx, yy), fill=(250, 240, 150))
        x += w + 1
    if "dash" in p:
        for x in range(p["dash"], S, 14):
            d.rectangle([x, 52, x + 7, 54], fill=(240, 240, 240))
    for star in p.get("stars", []):
        d.point(tuple(star), fill=(255, 255, 220))
    if name == "at night":
        d.ellipse([p["orb"], 4, p["orb"] + 9, 13], fill=(250, 245, 200))
    if name == "on the moon":
        d.ellipse([p["orb"], 4, p["orb"] + 11, 15], fill=(60, 120, 220))
    for cx, cy, r in p.get("craters", []):
        d.ellipse([cx - r, cy - r // 2, cx + r, cy + r // 2], fill=(95, 95, 95))
    for x, y, r in p.get("bubbles", []):
        d.ellipse([x - r, y - r, x + r, y + r], outline=(200, 235, 255))
    if name == "on a wooden floor":
        for y in range(hz, S, 5):
            d.line([0, y, S, y], fill=(100, 60, 30))
    if name == "on a purple rug":
        d.rectangle([0, hz, S, hz + 2], fill=(200, 170, 80))
    if name == "on a pink blanket":
        for k in range(0, S, 12):
            d.line([k, 0, k, S], fill=(250, 200, 215))
            d.line([0, k, S, k], fill=(250, 200, 215))
    if name == "in a wheat field":
        for x in range(0, S, 3):
            d.line([x, hz - 2, x + 1, hz + 5], fill=(200, 150, 40))
    if name == "on green grass":
        for x in range(0, S, 4):
            d.line([x, hz - 1, x + 1, hz + 3], fill=(50, 130, 40))
    for x, h, w in p.get("mountains", []):
        d.polygon([(x - w, hz), (x, hz - h), (x + w, hz)], fill=(110, 110, 125))
        snow = hz - h * 3 // 4
        d.polygon([(x - w // 4, snow), (x, hz - h), (x + w // 4, snow)], fill=(250, 250, 255))
    if name == "in the desert":
        d.ellipse([p["orb"], 4, p["orb"] + 9, 13], fill=(255, 240, 120))
    for t in p.get("trees", []):
        tree = TREE[TREES.index(t["kind"])].resize((t["size"], t["size"]))
        if t["hue"] is not None:
            tree = tint(tree, t["hue"])
        im.alpha_composite(tree, (t["x"], max(0, hz - t["size"] + 4)))
    return im


def scene(name, R):
    return draw_scene(scene_params(name, R))


# -------------------------------------------------------------------------------------------------------------- sticker
def tint(im, h, v=0.85):
    """The sticker in one hue, its shading kept."""
    a = np.asarray(im).astype(float) / 255
    light = a[..., :3].mean(-1)
    c = np.array(colorsys.hsv_to_rgb(h % 1, 1, 1))
    out = np.clip(light[..., None] * 0.35 + c * (0.25 + 0.75 * light[..., None]) * v, 0, 1)
    return Image.fromarray((np.concatenate([out, a[..., 3:]], -1) * 255).astype("uint8"), "RGBA")


def pattern_spots(seed):
    r = random.Random(seed)
    return [[r.randrange(72), r.randrange(72), r.randint(4, 7)] for _ in range(14)]


def draw_pattern(im, kind, h, spots=()):
    """A subject's own look: a coloured pattern laid over the sticker."""
    a = np.asarray(im).astype(float)
    y, x = np.mgrid[0:72, 0:72]
    if kind == "stripes":
        m = ((x + y) // 7) % 2 == 0
    elif kind == "spots":
        m = np.zeros((72, 72), bool)
        for cx, cy, q in spots:
            m |= (x - cx) ** 2 + (y - cy) ** 2 < q * q
    elif kind == "checks":
        m = ((x // 9) + (y // 9)) % 2 == 0
    else:
        m = x < 36
    c = np.array(colorsys.hsv_to_rgb(h % 1, 0.9, 0.95)) * 255
    light = a[..., :3].mean(-1, keepdims=True) / 255
    a[..., :3] = np.where(m[..., None], c * (0.35 + 0.65 * light), a[..., :3])
    return Image.fromarray(a.astype("uint8"), "RGBA")


def pattern(im, kind, h, seed=0):
    return draw_pattern(im, kind, h, pattern_spots(seed) if kind == "spots" else ())


def place_params(R):
    """The random draws that place a sticker: mirrored or not, size, angle, offsets."""
    return {
        "mirrored": R.random() < 0.5,
        "size": R.randint(34, 46),
        "angle": R.uniform(-10, 10),
        "dx": R.randint(-8, 8),
        "foot": R.randint(57, 61),
    }


def draw_layer(sprite, place, accessory=None):
    """The sticker alone, on a transparent picture."""
    if place["mirrored"]:
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    big = Image.new("RGBA", (110, 130))
    big.alpha_composite(sprite, (19, 48))
    if accessory == "sunglasses":
        big.alpha_composite(ACC_STICKER[accessory].resize((56, 56)), (27, 46))
    elif accessory:
        big.alpha_composite(ACC_STICKER[accessory].resize((44, 44)), (33, 14))
    big = big.rotate(place["angle"], Image.Resampling.BICUBIC, center=(55, 84))
    k = place["size"] / 72
    big = big.resize((int(110 * k), int(130 * k)), Image.Resampling.LANCZOS)
    layer = Image.new("RGBA", (S, S))
    layer.paste(big, (32 - big.width // 2 + place["dx"], place["foot"] - int(120 * k)))
    return layer


def draw(scene_p, sprite, place, accessory=None):
    im = draw_scene(scene_p)
    im.alpha_composite(draw_layer(sprite, place, accessory))
    return im.convert("RGB")


def render(R, sprite, scn, acc=None):
    scene_p = scene_params(scn, R)
    return draw(scene_p, sprite, place_params(R), acc)


# ------------------------------------------------------------------------------------------------- captions and samples
def caption(R, o, c, a, s, v=False):
    """`a [photo of a] [[v] ][colour ]noun[ wearing accessory][ scene]`"""
    words = "a photo of a " if R.random() < 0.3 else "a "
    words += ("[v] " if v else "") + (c + " " if c else "") + o + (" wearing " + a if a else "")
    return words + (" " + s if s else "")


def hue_name(h):
    return min(COL, key=lambda k: min(abs(COL[k] - h % 1), 1 - abs(COL[k] - h % 1)))


def sample(R, looks=0.0):
    """One captioned picture. With probability `looks` the sticker has a look of its own, which the caption names in three
    cases of ten only: that is how encoders learn that "a dog" may look like anything (looks=.5 for them)."""
    o, s = R.choice(NAMES), R.choice(SCN)
    c = R.choice(list(COL)) if R.random() < 0.25 else None
    a = R.choice(list(ACC)) if R.random() < 0.2 else None
    sprite = tint(SPR[o], COL[c] + R.uniform(-0.02, 0.02)) if c else SPR[o]
    word = c
    if looks and R.random() < looks:
        if not c and R.random() < 0.5:
            sprite = tint(sprite, R.random(), R.uniform(0.6, 1))
        k, h = R.choice(PAT), R.random()
        sprite = pattern(sprite, k, h, R.randrange(1 << 30))
        if R.random() < 0.3:
            word = hue_name(h) + " " + LOOK[k]
    picture = render(R, sprite, s, a)
    return picture, caption(R, o, word, a, s if R.random() < 0.92 else None, R.random() < 0.1)


def instance(R):
    """A random subject of its own look: sticker, colour, pattern."""
    sprite = SPR[R.choice(NAMES)]
    if R.random() < 0.6:
        sprite = tint(sprite, R.random(), R.uniform(0.6, 1))
    if R.random() < 0.6:
        sprite = pattern(sprite, R.choice(PAT), R.random(), R.randrange(1 << 30))
    return sprite
