"""Endless captioned pictures for training the rulers: stickers and scenes are drawn once, pictures are put together afresh.

A picture of StickerBench is a sticker's layer over a scene, and the two share no random number. A pool of some ten
thousand layers and a few thousand scenes therefore gives millions of pictures that were never seen, at the price of an
alpha blend. Every ruler draws pools from a seed of its own, so no two of them see the same picture.

A pool knows the truth of each layer, so that a batch can be made hard (the same caption but for its noun, scene, colour
or accessory) and a caption of another picture that happens to be true is not called false.
"""

import random
from dataclasses import dataclass

import numpy as np

import world as W

COLOURS, ACCESSORIES, PATTERNS = list(W.COL), list(W.ACC), W.PAT
NONE = -1


@dataclass
class Layer:
    """What is true of a drawn sticker. Indices; NONE where there is nothing to say."""

    noun: int
    subject: int  # layers of one subject differ in place and accessory alone; NONE for captioned layers
    tint: int = NONE  # nearest colour word of the tint
    exact: bool = False  # the tint is the colour word's own
    pattern: int = NONE
    hue: int = NONE  # nearest colour word of the pattern
    named: bool = False  # the caption names the pattern
    accessory: int = NONE

    @property
    def colour(self):
        """The colour that the caption names."""
        if self.named:
            return self.hue
        return self.tint if self.exact else NONE


def colour_index(hue):
    return COLOURS.index(W.hue_name(hue))


def patterned(R, sprite):
    kind, hue = R.choice(PATTERNS), R.random()
    return W.pattern(sprite, kind, hue, R.randrange(1 << 30)), PATTERNS.index(kind), colour_index(hue)


def any_tint(R, sprite):
    hue = R.random()
    return W.tint(sprite, hue, R.uniform(0.6, 1)), colour_index(hue)


def captioned(R, looks):
    """A sticker and its truth, as `world.sample` draws them but with more colours, which are what is learned last."""
    noun = R.randrange(len(W.NAMES))
    sprite, t = W.SPR[W.NAMES[noun]], Layer(noun, NONE)
    if R.random() < 0.35:
        t.tint, t.exact = R.randrange(len(COLOURS)), True
        sprite = W.tint(sprite, W.COL[COLOURS[t.tint]] + R.uniform(-0.02, 0.02))
    if R.random() < looks:
        if not t.exact and R.random() < 0.5:
            sprite, t.tint = any_tint(R, sprite)
        sprite, t.pattern, t.hue = patterned(R, sprite)
        t.named = R.random() < 0.3
    return sprite, t


def look(R):
    """A look: a tint, a pattern or both, laid over any sticker. Returns a function of noun and subject."""
    tinted, with_pattern = R.choice(((True, False), (False, True), (False, True), (True, True), (True, True)))
    tint = (R.random(), R.uniform(0.6, 1))
    kind, hue, seed = R.choice(PATTERNS), R.random(), R.randrange(1 << 30)

    def of(noun, subject):
        sprite, t = W.SPR[W.NAMES[noun]], Layer(noun, subject)
        if tinted:
            sprite, t.tint = W.tint(sprite, *tint), colour_index(tint[0])
        if with_pattern:
            sprite, t.pattern, t.hue = W.pattern(sprite, kind, hue, seed), PATTERNS.index(kind), colour_index(hue)
        return sprite, t

    return of


def layer(R, sprite, accessory):
    words = None if accessory == NONE else ACCESSORIES[accessory]
    return np.asarray(W.draw_layer(sprite, W.place_params(R), words))


def any_accessory(R, p):
    return R.randrange(len(ACCESSORIES)) if R.random() < p else NONE


VIEWS = 4  # layers of a subject
# Subjects come in families, every look on every noun: each has others of its noun and others of its look beside it.
FAMILY_NOUNS, FAMILY_LOOKS = 4, 6
FAMILY = FAMILY_NOUNS * FAMILY_LOOKS


class Pool:
    """Layers and scenes of one seed."""

    def __init__(self, seed, captioned_layers, families, scenes, looks=0.5):
        R = random.Random(f"rulers {seed}")
        self.truth = []
        pixels = np.zeros((captioned_layers + (families * FAMILY + len(W.NAMES)) * VIEWS, W.S, W.S, 4), "uint8")

        def add(sprite, t, accessory):
            t.accessory = accessory
            pixels[len(self.truth)] = layer(R, sprite, accessory)
            self.truth.append(t)

        for _ in range(captioned_layers):
            add(*captioned(R, looks), any_accessory(R, 0.3))
        # The first subjects are the nouns' plain stickers.
        subjects = [(W.SPR[name], Layer(noun, noun)) for noun, name in enumerate(W.NAMES)]
        for _ in range(families):
            nouns, looks_of = R.sample(range(len(W.NAMES)), FAMILY_NOUNS), [look(R) for _ in range(FAMILY_LOOKS)]
            for noun in nouns:
                for of in looks_of:
                    subjects.append(of(noun, len(subjects)))
        for sprite, t in subjects:
            for _ in range(VIEWS):
                add(sprite, Layer(**vars(t)), any_accessory(R, 0.2))
        self.layers = pixels
        self.captioned = captioned_layers
        self.scenes = np.zeros((len(W.SCN), scenes, W.S, W.S, 3), "uint8")
        for k, name in enumerate(W.SCN):
            for i in range(scenes):
                self.scenes[k, i] = np.asarray(W.scene(name, R).convert("RGB"))
        self.families = families
        self.alike = {}  # colour, pattern, accessory of the caption -> layers
        self.of_noun = [[] for _ in W.NAMES]
        for i in range(captioned_layers):
            self.alike.setdefault(self.words(i), []).append(i)
            self.of_noun[self.truth[i].noun].append(i)

    def words(self, i):
        t = self.truth[i]
        return t.colour, t.pattern if t.named else NONE, t.accessory

    def pictures(self, layers, scenes):
        """uint8 [N, 64, 64, 3]: layers over scenes (kind, index), as Pillow composites on an opaque picture."""
        over = self.layers[layers].astype(np.uint16)
        under = self.scenes[scenes[:, 0], scenes[:, 1]].astype(np.uint16)
        a = over[..., 3:]
        return ((over[..., :3] * a + under * (255 - a) + 127) // 255).astype(np.uint8)

    def any_scene(self, R, but=None):
        kinds = [k for k in range(len(W.SCN)) if k != but]
        return R.choice(kinds), R.randrange(self.scenes.shape[1])

    def hard_batch(self, R, quads):
        """Layers and scenes of 4 x `quads` pictures: one, and three that differ from it in the noun, in the scene, and in
        colour or accessory."""
        layers, scenes = [], []
        for _ in range(quads):
            i = R.randrange(self.captioned)
            s = self.any_scene(R)
            noun = self.truth[i].noun
            twins = [j for j in R.sample(self.alike[self.words(i)], min(8, len(self.alike[self.words(i)])))
                     if self.truth[j].noun != noun]
            others = [j for j in R.sample(self.of_noun[noun], min(12, len(self.of_noun[noun])))
                      if self.words(j) != self.words(i)]
            layers += [i, R.choice(twins) if twins else R.randrange(self.captioned), i,
                       R.choice(others) if others else R.randrange(self.captioned)]
            scenes += [s, s, self.any_scene(R, s[0]), s]
        return np.array(layers), np.array(scenes)

    def captions(self, R, layers, scenes):
        """Texts, and what each names: rows of noun, colour, pattern, accessory, scene (NONE: not named)."""
        texts, named = [], []
        for i, (k, _) in zip(layers, scenes):
            t = self.truth[i]
            colour, pattern, accessory = self.words(i)
            words = " ".join([COLOURS[colour]] * (colour != NONE) + [W.LOOK[PATTERNS[pattern]]] * (pattern != NONE))
            k = k if R.random() < 0.92 else NONE
            texts.append(W.caption(R, W.NAMES[t.noun], words, accessory != NONE and ACCESSORIES[accessory],
                                   k != NONE and W.SCN[k], R.random() < 0.1))
            named.append((t.noun, colour, pattern, accessory, k))
        return texts, np.array(named)

    def true_of(self, named, layers, scenes):
        """Boolean [pictures, captions]: nothing that the caption names is false of the picture."""
        t = [self.truth[i] for i in layers]
        column = lambda f: np.array([f(x) for x in t])[:, None]
        noun, colour, pattern, accessory, scene = named.T
        return (
            (column(lambda x: x.noun) == noun)
            & ((colour == NONE) | (column(lambda x: x.tint) == colour) | (column(lambda x: x.hue) == colour))
            & ((pattern == NONE) | (column(lambda x: x.pattern) == pattern))
            & ((accessory == NONE) | (column(lambda x: x.accessory) == accessory))
            & ((scene == NONE) | (scenes[:, :1] == scene))
        )

    def subject_batch(self, R, families):
        """Two views each of the subjects of some families and of the plain stickers of the first one's nouns.
        Layers and scenes [2, subjects]."""
        subjects = []
        for f in R.sample(range(self.families), families):
            first = len(W.NAMES) + f * FAMILY
            subjects += range(first, first + FAMILY)
        subjects += sorted({self.truth[self.captioned + s * VIEWS].noun for s in subjects[:FAMILY]})
        views = [R.sample(range(VIEWS), 2) for _ in subjects]
        layers = [[self.captioned + s * VIEWS + v[n] for s, v in zip(subjects, views)] for n in (0, 1)]
        scenes = [[self.any_scene(R) for _ in subjects] for _ in (0, 1)]
        return np.array(layers), np.array(scenes)
