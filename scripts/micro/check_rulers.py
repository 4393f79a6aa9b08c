"""Judges the encoders that measure pictures of StickerBench (`reward`, `eval_clip`, `cond_clip`, `eval_dino`) on true
renders, each drawn once here and shown to every encoder.

    TWEMOJI=<crate twemoji-assets>/assets/72x72 python check_rulers.py --model assets/micro \\
        [--reward DIR] [--clip DIR] [--cond DIR] [--vit DIR] [--renders 1216] [--seed 990000] [--threads 1] \\
        [--margins 0.37,0.39,0.55] [--json OUT]

A folder that is not given is the one inside `--model`; `cond_clip` is left out where there is none.

Independent of the training code: only the renderer, `world.py`, is shared. Every measure draws from a stream of its
own, seeded with the text "check_rulers SEED MEASURE"; training seeds its streams with "rulers N" (`pools.py`:
N = 20001, 40001, 70001, 90001) and, in older scripts, with small integers.

Text, of encoders that have a text tower. The caption is "a {colour }{noun}{ wearing accessory} {scene}"; an answer is
right if no other word in its place makes a caption that is nearer to the picture. `--renders` pictures, half as many
where marked (/2); the nouns are balanced, and so are the colours and the accessories.

    noun                          among 76; colour with p .25, accessory with p .2, any scene
    scene                         among 16, of the same pictures
    colour (/2)                   among 8, of pictures that all have one
    accessory (/2)                among 5, of pictures that all have one
    looks: noun, looks: scene     (/2) on stickers with a pattern and, with p .5, a tint that the caption doesn't name
    beats 4 exchanges (/2)        the true caption, which names all four, beats one wrong noun, one wrong scene, one
                                  wrong colour and one wrong accessory at once; no goal

Identity, of every encoder, without text.

    recall of 512                 512 subjects of any noun, tint with p .6 and pattern with p .6, one at least; two
                                  views in different scenes, accessory with p .2: the nearest second view is the
                                  subject's own; mean of both directions
    recall of 64 looks            the same among 64 looks of one noun (pattern, and tint with p .5), mean of 12 nouns
    cosine: ...                   mean of 200 subjects (a pattern, no tint), a reference view against another
                                  view, the noun's plain sticker, the noun in another look, another noun in the same
                                  look, another subject
    margin                        the first of these less the largest of the other four
    class mean                    noun of a picture by the nearest of 76 means of 24 pictures; plain stickers, with
                                  p .25 coloured

Then, on 40 subjects: does the subject beat the plain sticker, and the right scene
the wrong one, under the λ-Harmonic of the reward?

Needs torch 2.15, transformers 5.23, pillow, numpy. 9,600 renders and three encoders take 90 s of one core.
"""

import argparse
import json
import os
import random
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

import world as W

VALUES = {"noun": W.NAMES, "scene": W.SCN, "colour": list(W.COL), "accessory": list(W.ACC)}
TEXT_GOALS = {"noun": 0.95, "scene": 0.95, "colour": 0.95, "accessory": 0.95, "looks: noun": 0.85, "looks: scene": 0.85}
RECALL_GOALS = {"recall of 512": 0.95, "recall of 64 looks": 0.8}
COSINES = ("same subject", "plain sticker", "other look", "look on other noun", "other subject")


def arguments():
    ap = argparse.ArgumentParser()
    ap.add_argument("--model", required=True)
    ap.add_argument("--reward")
    ap.add_argument("--clip")
    ap.add_argument("--cond")
    ap.add_argument("--vit")
    ap.add_argument("--renders", type=int, default=1216)
    ap.add_argument("--seed", type=int, default=990_000)
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--margins", default="0.37,0.39,0.55", help="least margins of ALIGN, CLIP, ViT")
    ap.add_argument("--json")
    return ap.parse_args()


# ------------------------------------------------------------------------------------------------------------- encoders
def unit(x):
    return F.normalize(x.float(), dim=-1)


class Align:
    def __init__(self, folder):
        from transformers import AlignModel, BertTokenizer

        self.model = AlignModel.from_pretrained(folder).float().eval()
        self.tokens = BertTokenizer(os.path.join(folder, "vocab.txt"))

    def image(self, x):
        return self.model.vision_model(pixel_values=x).pooler_output

    def text(self, captions):
        q = self.tokens(captions, padding="longest", return_tensors="pt")
        h = self.model.text_model(input_ids=q.input_ids, attention_mask=q.attention_mask)
        return self.model.text_projection(h.last_hidden_state[:, 0])


class Clip:
    def __init__(self, folder):
        from transformers import CLIPModel, CLIPTokenizer

        self.model = CLIPModel.from_pretrained(folder).float().eval()
        self.tokens = CLIPTokenizer.from_pretrained(folder)

    def image(self, x):
        return self.model.visual_projection(self.model.vision_model(pixel_values=x).pooler_output)

    def text(self, captions):
        q = self.tokens(captions, padding="longest", return_tensors="pt")
        return self.model.text_projection(self.model.text_model(input_ids=q.input_ids).pooler_output)


class Vit:
    text = None

    def __init__(self, folder):
        from transformers import ViTModel

        self.model = ViTModel.from_pretrained(folder, add_pooling_layer=False).float().eval()

    def image(self, x):
        return self.model(pixel_values=x).last_hidden_state[:, 0]


def folders(A):
    """Name of an encoder -> its class and folder."""
    inside = lambda name: os.path.join(A.model, name)
    cond = A.cond or (inside("cond_clip") if os.path.isdir(inside("cond_clip")) else None)
    found = {
        "ALIGN": (Align, A.reward or inside("reward")),
        "CLIP": (Clip, A.clip or inside("eval_clip")),
        "cond_clip": (Clip, cond),
        "ViT": (Vit, A.vit or inside("eval_dino")),
    }
    return {name: pair for name, pair in found.items() if pair[1]}


@torch.inference_mode()
def embed_pictures(encoder, pictures):
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    return torch.cat([unit(encoder.image(part.float() / 127.5 - 1)) for part in x.split(128)])


@torch.inference_mode()
def embed_texts(encoder, captions):
    parts = [captions[i : i + 512] for i in range(0, len(captions), 512)]
    return torch.cat([unit(encoder.text(part)) for part in parts])


def with_text(encoders):
    return {name: e for name, e in encoders.items() if e.text}


# ------------------------------------------------------------------------------------------------------------- pictures
@dataclass(frozen=True)
class Subject:
    """A sticker: its noun and its look."""

    noun: str
    tint: tuple | None = None  # hue, value
    pattern: tuple | None = None  # kind, hue, seed

    def sprite(self):
        sprite = W.SPR[self.noun]
        sprite = W.tint(sprite, *self.tint) if self.tint else sprite
        return W.pattern(sprite, *self.pattern) if self.pattern else sprite


@dataclass(frozen=True)
class Facts:
    """What a caption says."""

    noun: str
    scene: str
    colour: str | None = None
    accessory: str | None = None

    def caption(self):
        colour = f"{self.colour} " if self.colour else ""
        accessory = f" wearing {self.accessory}" if self.accessory else ""
        return f"a {colour}{self.noun}{accessory} {self.scene}"

    def exchanged(self, part):
        """The caption with each value that the part can have."""
        return [replace(self, **{part: value}).caption() for value in VALUES[part]]


def maybe(R, p, value):
    return value if R.random() < p else None


def any_accessory(R):
    return maybe(R, 0.2, R.choice(VALUES["accessory"]))


def other(R, values, but):
    return R.choice([v for v in values if v != but])


def deal(R, values, count):
    """`count` values in random order, each as often as any other."""
    dealt = (list(values) * (count // len(values) + 1))[:count]
    R.shuffle(dealt)
    return dealt


def any_look(R, noun, tint_p, pattern_p):
    """A subject with a tint or a pattern at least."""
    while True:
        tint = maybe(R, tint_p, (R.random(), R.uniform(0.6, 1)))
        pattern = maybe(R, pattern_p, (R.choice(W.PAT), R.random(), R.randrange(1 << 30)))
        if tint or pattern:
            return Subject(noun, tint, pattern)


def patterned(R, noun):
    return any_look(R, noun, 0.5, 1)


def coloured(R, noun, colour):
    """The plain sticker, or the one that `world.sample` draws for a colour's word."""
    return Subject(noun, (W.COL[colour] + R.uniform(-0.02, 0.02), 0.85) if colour else None)


def picture(R, subject, scene, accessory=None):
    return np.asarray(W.render(R, subject.sprite(), scene, accessory))


def captioned(R, count, colour_p=0.25, accessory_p=0.2, looks=False):
    """Pictures, and what the caption of each says. Looks are not told."""
    told, pictures = [], []
    deals = [deal(R, VALUES[part], count) for part in ("noun", "colour", "accessory")]
    for noun, colour, accessory in zip(*deals):
        colour = maybe(R, colour_p, colour)
        facts = Facts(noun, R.choice(W.SCN), None if looks else colour, maybe(R, accessory_p, accessory))
        subject = patterned(R, noun) if looks else coloured(R, noun, colour)
        told.append(facts)
        pictures.append(picture(R, subject, facts.scene, facts.accessory))
    return told, np.stack(pictures)


# --------------------------------------------------------------------------------------------------------------- report
class Report:
    """Figures of each encoder, and what it mistakes for what."""

    def __init__(self):
        self.figures = {}  # measure -> encoder -> figure
        self.trials = {}  # measure -> trials
        self.weakest = {}  # measure -> encoder -> its five weakest classes

    def add(self, measure, name, figure, trials):
        self.figures.setdefault(measure, {})[name] = float(figure)
        self.trials[measure] = trials

    def add_answers(self, measure, name, true, said):
        """Share of right answers, and the classes that were told least well."""
        self.add(measure, name, np.mean([t == s for t, s in zip(true, said)]), len(true))
        classes = []
        for value in sorted(set(true)):
            answers = Counter(s for t, s in zip(true, said) if t == value)
            share = answers.pop(value, 0) / true.count(value)
            if answers:
                taken_for, times = answers.most_common(1)[0]
                classes.append({"true": value, "share": share, "taken for": taken_for, "times": times})
        self.weakest.setdefault(measure, {})[name] = sorted(classes, key=lambda c: c["share"])[:5]

    def table(self, names):
        width = max(map(len, self.figures))
        lines = [f"{'measure':{width}}  {'trials':>6}" + "".join(f"{name:>11}" for name in names)]
        for measure, row in self.figures.items():
            cells = (f"{row[name]:.3f}" if name in row else "-" for name in names)
            lines.append(f"{measure:{width}}  {self.trials[measure]:6}" + "".join(f"{cell:>11}" for cell in cells))
        return lines

    def weakest_lines(self):
        for measure, row in self.weakest.items():
            for name, classes in row.items():
                words = (f"{c['true']} {c['share']:.2f} ({c['taken for']} {c['times']})" for c in classes)
                yield f"{measure}, {name}: " + (", ".join(words) or "none")


# --------------------------------------------------------------------------------------------------------- A: with text
def nearest(encoder, pictures, candidates):
    """For each embedded picture the index of the nearest of its own candidates."""
    row_of = {caption: i for i, caption in enumerate(dict.fromkeys(c for row in candidates for c in row))}
    texts = embed_texts(encoder, list(row_of))
    rows = torch.tensor([[row_of[c] for c in row] for row in candidates])
    return torch.einsum("nd,nkd->nk", pictures, texts[rows]).argmax(1).tolist()


def check_parts(report, encoders, told, pictures, parts, prefix=""):
    for name, encoder in with_text(encoders).items():
        embedded = embed_pictures(encoder, pictures)
        for part in parts:
            chosen = nearest(encoder, embedded, [facts.exchanged(part) for facts in told])
            true = [getattr(facts, part) for facts in told]
            report.add_answers(prefix + part, name, true, [VALUES[part][k] for k in chosen])


def check_exchanges(report, encoders, R, count):
    told, pictures = captioned(R, count, 1, 1)
    candidates = []
    for facts in told:
        wrong = (replace(facts, **{part: other(R, VALUES[part], getattr(facts, part))}) for part in VALUES)
        candidates.append([facts.caption(), *(w.caption() for w in wrong)])
    for name, encoder in with_text(encoders).items():
        chosen = nearest(encoder, embed_pictures(encoder, pictures), candidates)
        report.add("beats 4 exchanges", name, chosen.count(0) / count, count)


def check_text(report, encoders, stream, count):
    half = count // 2
    check_parts(report, encoders, *captioned(stream("text"), count), ("noun", "scene"))
    check_parts(report, encoders, *captioned(stream("colour"), half, colour_p=1), ("colour",))
    check_parts(report, encoders, *captioned(stream("accessory"), half, accessory_p=1), ("accessory",))
    check_parts(report, encoders, *captioned(stream("looks"), half, looks=True), ("noun", "scene"), "looks: ")
    check_exchanges(report, encoders, stream("exchanges"), half)


# ---------------------------------------------------------------------------------------------------------- B: identity
def two_views(R, subjects):
    """Pictures [subjects * 2], the views of a subject next to each other."""
    pictures = []
    for subject in subjects:
        pictures += [picture(R, subject, scene, any_accessory(R)) for scene in R.sample(W.SCN, 2)]
    return np.stack(pictures)


def recall(embedded):
    """Share of views whose nearest view on the other side is of the same subject; [subjects * 2, d]."""
    similarity = embedded[0::2] @ embedded[1::2].T
    own = torch.arange(len(similarity))
    return torch.stack([similarity.argmax(k) == own for k in (0, 1)]).float().mean().item()


def check_subjects(report, encoders, R, count=512):
    subjects = {}  # a dictionary, so that no subject comes twice and their order is that of the stream
    while len(subjects) < count:
        subjects[any_look(R, R.choice(W.NAMES), 0.6, 0.6)] = True
    pictures = two_views(R, subjects)
    for name, encoder in encoders.items():
        report.add("recall of 512", name, recall(embed_pictures(encoder, pictures)), 2 * count)


def check_looks(report, encoders, R, nouns=12, looks=64):
    sets = [two_views(R, [patterned(R, noun) for _ in range(looks)]) for noun in R.sample(W.NAMES, nouns)]
    for name, encoder in encoders.items():
        shares = [recall(embed_pictures(encoder, pictures)) for pictures in sets]
        report.add("recall of 64 looks", name, np.mean(shares), 2 * nouns * looks)


def check_cosines(report, encoders, R, count=200):
    pictures = []
    for _ in range(count):
        noun = R.choice(W.NAMES)
        subject = any_look(R, noun, 0, 1)
        # The reference, then the subjects of COSINES.
        shown = [subject, subject, Subject(noun), any_look(R, noun, 0, 1)]
        shown += [replace(subject, noun=other(R, W.NAMES, noun)), any_look(R, other(R, W.NAMES, noun), 0, 1)]
        pictures += [picture(R, s, R.choice(W.SCN)) for s in shown]
    pictures = np.stack(pictures)
    for name, encoder in encoders.items():
        e = embed_pictures(encoder, pictures).unflatten(0, (count, -1))
        cosines = torch.einsum("nd,nkd->nk", e[:, 0], e[:, 1:]).mean(0).tolist()
        for words, cosine in zip(COSINES, cosines):
            report.add(f"cosine: {words}", name, cosine, count)
        report.add("margin", name, cosines[0] - max(cosines[1:]), count)


def check_class_means(report, encoders, R, known=24, asked=8):
    pictures = []
    for noun in W.NAMES:
        for _ in range(known + asked):
            colour = maybe(R, 0.25, R.choice(VALUES["colour"]))
            pictures.append(picture(R, coloured(R, noun, colour), R.choice(W.SCN)))
    pictures = np.stack(pictures)
    true = [noun for noun in W.NAMES for _ in range(asked)]
    for name, encoder in encoders.items():
        e = embed_pictures(encoder, pictures).unflatten(0, (len(W.NAMES), -1))
        means = unit(e[:, :known].mean(1))
        chosen = (e[:, known:].flatten(0, 1) @ means.T).argmax(1)
        report.add_answers("class mean", name, true, [W.NAMES[k] for k in chosen])


def check_identity(report, encoders, stream):
    check_subjects(report, encoders, stream("subjects"))
    check_looks(report, encoders, stream("looks of a noun"))
    check_cosines(report, encoders, stream("cosines"))
    check_class_means(report, encoders, stream("class means"))


# -------------------------------------------------------------------------------------------------------------- C: gate
REFERENCE_SCENES = ("on a wooden floor", "on a street")
COLUMNS = ("ALIGN-I", "ALIGN-T", "H.3", "H.5", "H.7", "CLIP-I", "CLIP-T", "ViT-I")
CANDIDATES = ("subject, right scene", "plain, right scene", "subject, wrong scene", "plain, wrong scene")


def gate_pictures(R, count):
    """Five references and the four candidates of each subject, and the caption that is right."""
    pictures, captions = [], []
    scenes = [s for s in W.SCN if s not in REFERENCE_SCENES]
    for _ in range(count):
        subject = patterned(R, R.choice(W.NAMES))
        plain = Subject(subject.noun)
        good = R.choice(scenes)
        bad = other(R, scenes, good)
        pictures += [picture(R, subject, REFERENCE_SCENES[k % 2]) for k in range(5)]
        pictures += [picture(R, s, scene) for scene in (good, bad) for s in (subject, plain)]
        captions.append(Facts(subject.noun, good).caption())
    return np.stack(pictures), captions


def gate(encoders, R, count=40):
    """Scores [subjects, columns, candidates]."""
    pictures, captions = gate_pictures(R, count)
    image, text = {}, {}
    for name in ("ALIGN", "CLIP", "ViT"):
        e = embed_pictures(encoders[name], pictures).unflatten(0, (count, -1))
        image[name] = torch.einsum("ncd,nrd->ncr", e[:, 5:], e[:, :5]).mean(2)
        if encoders[name].text:
            text[name] = torch.einsum("ncd,nd->nc", e[:, 5:], embed_texts(encoders[name], captions))
    align_i, align_t = (image["ALIGN"] + 1) / 2, (text["ALIGN"] + 1) / 2
    harmonic = [1 / (share / align_i + (1 - share) / align_t) for share in (0.3, 0.5, 0.7)]
    return torch.stack([align_i, align_t, *harmonic, image["CLIP"], text["CLIP"], image["ViT"]], 1)


def gate_summary(scores):
    """Mean scores, and how often the subject in the right scene beats another candidate under each λ."""
    table = {c: dict(zip(COLUMNS, scores[:, :, k].mean(0).tolist())) for k, c in enumerate(CANDIDATES)}
    beats = {}
    for column in (2, 3, 4):
        plain, wrong = ((scores[:, column, 0] > scores[:, column, k]).float().mean().item() for k in (1, 2))
        beats[COLUMNS[column]] = {"plain": plain, "wrong scene": wrong}
    return {"subjects": len(scores), "table": table, "beats": beats, "passed": min(beats["H.3"].values()) >= 0.8}


def gate_lines(g):
    width = max(map(len, CANDIDATES))
    lines = [f"{'candidate':{width}}" + "".join(f"{c:>9}" for c in COLUMNS)]
    for words, row in g["table"].items():
        lines.append(f"{words:{width}}" + "".join(f"{row[c]:9.3f}" for c in COLUMNS))
    for column, b in g["beats"].items():
        plain, wrong = b["plain"], b["wrong scene"]
        lines.append(f"{column}: beats plain {plain:.2f}, wrong scene {wrong:.2f} of {g['subjects']}")
    lines.append(f"gate at .3 (0.80 each): {'passed' if g['passed'] else 'FAILED'}")
    return lines


# ---------------------------------------------------------------------------------------------------------------- goals
def goals(report, margins):
    """Measure, encoder, figure, least figure, met or missed; figures are compared as they are, not rounded."""
    asked = [(measure, name, least) for measure, least in TEXT_GOALS.items() for name in ("ALIGN", "CLIP")]
    asked += [(measure, "ViT", least) for measure, least in RECALL_GOALS.items()]
    asked += [("margin", name, least) for name, least in zip(("ALIGN", "CLIP", "ViT"), margins)]
    for measure, name, least in asked:
        figure = report.figures[measure][name]
        met = "met" if figure >= least else "missed"
        yield {"measure": measure, "encoder": name, "figure": figure, "least": least, "goal": met}


def goal_line(g):
    return f"{g['measure']:18}  {g['encoder']:5}  {g['figure']:.3f}  least {g['least']:.2f}  {g['goal']}"


def main():
    A = arguments()
    torch.set_num_threads(A.threads)
    stream = lambda measure: random.Random(f"check_rulers {A.seed} {measure}")
    found = folders(A)
    encoders = {name: kind(folder) for name, (kind, folder) in found.items()}
    report = Report()
    check_text(report, encoders, stream, A.renders)
    check_identity(report, encoders, stream)
    gated = gate_summary(gate(encoders, stream("gate")))
    judged = list(goals(report, [float(m) for m in A.margins.split(",")]))
    lines = [f"{name}: {folder}" for name, (_, folder) in found.items()]
    lines += ["", *report.table(("ALIGN", "CLIP", "cond_clip", "ViT"))]
    lines += ["", "weakest classes: share told, and the answer given most often instead", *report.weakest_lines()]
    lines += ["", *gate_lines(gated)]
    lines += ["", "goals", *map(goal_line, judged)]
    print("\n".join(lines))
    if A.json:
        result = {
            "folders": {name: folder for name, (_, folder) in found.items()},
            "seed": A.seed,
            "measures": {m: {"trials": report.trials[m], **row} for m, row in report.figures.items()},
            "weakest": report.weakest,
            "gate": gated,
            "goals": judged,
        }
        with open(A.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
