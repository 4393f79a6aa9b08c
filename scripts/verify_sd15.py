"""Verifies this program on your own copy of Stable Diffusion 1.x or 2.x: one command, one verdict.

    python scripts/verify_sd15.py MODEL [--program rpo-train] [--out DIR] [--device cpu] [--quick]

MODEL is a folder in diffusers layout with safetensors, as `huggingface-cli download stable-diffusion-v1-5/stable-diffusion-v1-5` makes.
Every part of it is computed by rpo-train and by diffusers and transformers, both in 32 bits, on the same inputs: tokens and text
encoder, U-Net at four times, VAE in both directions, a picture of four steps. Then rpo-train trains two steps, a LoRA and the whole
U-Net, on rendered subjects at half the model's size, and diffusers loads what was kept. ALIGN, CLIP and DINO are not needed: the
embedded model's encoders stand in. --quick computes at half the size and does not train the whole U-Net.

Needs: pip install torch diffusers transformers peft accelerate safetensors pillow numpy
Nothing is downloaded and nothing outside a new folder is written. Exit code: 0 passed, 1 failed, 2 something that was given cannot
be used.
"""

import argparse
import ctypes
import gc
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

STEPS = 4
PROMPT = "a photo of a dog in the snow"
PROMPTS = [PROMPT, "", "an oil painting of a red fox, very detailed, in a forest"]
# The largest relative difference (L2) that passes. Rounding in 32 bits leaves some 1e-6 in a part; guidance multiplies it.
PART, PICTURE = 1e-4, 2e-3
PARTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
EXPERIMENT = """
name = "verify"
reproduces = "Two steps, to be read by diffusers"
output = {out}
[model]
path = {model}
size = {size}
device = "{device}"
dtype = "f32"
[subjects]
count = 1
[sampler]
steps = 2
batch = 2
[training]
steps = 2
batch = 1
learning_rate = {rate}
[recipe]
negatives_per_prompt = 1
[validation]
every = 2
prompts = 1
pictures_per_prompt = 1
[rules]
lambda = [0.5]
mean = ["harmonic"]
last = true
[test]
prompts = 1
pictures_per_prompt = 1
"""


def unusable(message, hint):
    print(f"error: {message}\n  hint: {hint}", file=sys.stderr)
    sys.exit(2)


def load_libraries():
    try:
        global np, torch, diffusers, transformers, peft, load_file, save_file
        import diffusers
        import numpy as np
        import peft
        import torch
        import transformers
        from safetensors.torch import load_file, save_file
    except ImportError as e:
        unusable(f"a Python package is missing ({e})", "pip install torch diffusers transformers peft accelerate safetensors pillow numpy")
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def read_json(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as e:
        unusable(f"{path} cannot be read ({e})", "give the folder that `huggingface-cli download --local-dir` made, with model_index.json in it")


class Model:
    """The folder, looked at before anything is loaded."""

    def __init__(self, folder):
        self.folder = folder
        index = read_json(folder / "model_index.json")
        if index.get("_class_name") != "StableDiffusionPipeline":
            unusable(f"{folder} is a {index.get('_class_name')}", "a Stable Diffusion 1.x or 2.x folder; SDXL: scripts/parity/diffusion.py")
        self.files, self.variants = [], {}
        for part, stem in PARTS.items():
            files = {v: sorted([*(folder / part).glob(f"{stem}{v}.safetensors"), *(folder / part).glob(f"{stem}{v}-0*.safetensors")])
                     for v in ("", ".fp16")}
            found = next((v for v in files if files[v]), None)
            if found is None:
                pickled = any((folder / part).glob("*.bin"))
                unusable(f"{folder / part} has no {stem}.safetensors", "it has a pickle (.bin), which is not read: download the safetensors"
                         if pickled else "download the whole repository, or name its folder")
            self.variants[part] = found[1:] or None
            self.files += files[found]
        self.unet = read_json(folder / "unet/config.json")
        self.vae = read_json(folder / "vae/config.json")
        self.factor = 2 ** (len(self.vae["block_out_channels"]) - 1)
        self.side = self.unet.get("sample_size") or 64
        self.parameters = sum(map(parameters, [f for f in self.files if f.parent.name == "unet"]))

    def load(self, kind, part, folder=None):
        where = dict(subfolder=part, variant=self.variants[part]) if folder is None else {}
        return kind.from_pretrained(folder or self.folder, torch_dtype=torch.float32, local_files_only=True, **where).eval().requires_grad_(False)


def parameters(file):
    with open(file, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
    header.pop("__metadata__", None)
    count = 0
    for about in header.values():
        size = 1
        for n in about["shape"]:
            size *= n
        count += size
    return count


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def released():
    """Gives freed memory back to the system, where the C library is asked to: the program needs it next."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        pass


def relative(ours, theirs):
    if ours.shape != theirs.shape:
        return float("inf")
    ours, theirs = ours.double(), theirs.double()
    return float((ours - theirs).norm() / theirs.norm().clamp_min(1e-30))


class Verification:
    def __init__(self, args, model, out):
        self.program, self.device, self.quick = args.program, args.device, args.quick
        self.model, self.out, self.rows = model, out, []
        self.side = max(8, model.side // 2) if self.quick else model.side
        self.generator = torch.Generator().manual_seed(11)

    def randn(self, *shape):
        return torch.randn(shape, generator=self.generator)

    def row(self, part, difference, tolerance, note=""):
        ok = difference <= tolerance
        self.rows.append((part, f"{difference:.1e}", f"{tolerance:.0e}", "ok" if ok else "FAILED", note))
        print(f"  {part:<44} {difference:9.1e} {tolerance:9.0e}  {'ok' if ok else 'FAILED'}  {note}", flush=True)

    def without(self, part, reason):
        self.rows.append((part, "-", "-", "not run", reason))
        print(f"  {part:<44} {'-':>9} {'-':>9}  not run  {reason}", flush=True)

    def run(self, *args):
        done = subprocess.run([self.program, *map(str, args)], capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"{self.program} {args[0]} ended with {done.returncode}: {done.stderr.strip()[-1500:]}", done)
        return done.stdout

    def forward(self, part, inputs=None, *more, model=None):
        source, target = self.out / "in.safetensors", self.out / "out.safetensors"
        given = []
        if inputs is not None:
            save_file({k: v.contiguous() for k, v in inputs.items()}, source)
            given = ["--inputs", source]
        self.run("forward", "--model", model or self.model.folder, "--part", part, "--device", self.device, *given, "--output", target, *more)
        result = load_file(target)
        target.unlink()
        return result

    def texts(self):
        """States of the prompts for the U-Net, by us; compared with transformers."""
        folder = self.model.folder
        ours = self.forward("text", None, "--text", *PROMPTS)
        tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        theirs = tokenizer(PROMPTS, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt").input_ids
        same = torch.equal(ours["input_ids"].long(), theirs)
        self.row("tokens of three prompts", 0.0 if same else float("inf"), 0.0)
        encoder = self.model.load(transformers.CLIPTextModel, "text_encoder")
        states = encoder(theirs).last_hidden_state
        self.row("text encoder", relative(ours["encoder_hidden_states"], states), PART)
        return ours["encoder_hidden_states"], states

    def unet_inputs(self, t, states):
        return {"sample": self.randn(1, self.model.unet["in_channels"], self.side, self.side), "timestep": torch.tensor([t]),
                "encoder_hidden_states": states[:1]}

    def unets(self, states):
        inputs = [self.unet_inputs(t, states) for t in ([981, 1] if self.quick else [981, 661, 321, 1])]
        unet = self.model.load(diffusers.UNet2DConditionModel, "unet")
        theirs = [predict(unet, values) for values in inputs]
        del unet
        released()
        for values, wanted in zip(inputs, theirs):
            begin = time.monotonic()
            ours = self.forward("unet", values)["sample"]
            self.row(f"U-Net at t = {int(values['timestep'])}", relative(ours, wanted), PART, f"{time.monotonic() - begin:.1f} s with loading")

    def vaes(self):
        vae = self.model.load(diffusers.AutoencoderKL, "vae")
        side = self.side * self.model.factor
        picture = self.randn(1, 3, side // 4, side // 4)
        # Smooth, as pictures are.
        picture = torch.nn.functional.interpolate(picture, size=(side, side), mode="bicubic").clamp(-1, 1)
        latents = self.randn(1, self.model.vae["latent_channels"], self.side, self.side)
        posterior = vae.encode(picture).latent_dist
        decoded = vae.decode(latents).sample
        del vae
        released()
        ours = self.forward("vae-encode", {"sample": picture})
        self.row("VAE, encoder: mean", relative(ours["mean"], posterior.mean), PART)
        self.row("VAE, encoder: log of variance", relative(ours["logvar"], posterior.logvar), PART)
        ours = self.forward("vae-decode", {"latents": latents})
        self.row("VAE, decoder", relative(ours["sample"], decoded), PART)

    def schedule(self):
        config = read_json(self.model.folder / "scheduler/scheduler_config.json")
        return diffusers.DDIMScheduler.from_config(config)

    def draw(self, predicted, states, decoded):
        """DDIM with guidance, as the pipeline of diffusers does it; the networks are given."""
        schedule = self.schedule()
        schedule.set_timesteps(STEPS)
        generator = torch.Generator().manual_seed(5)
        latents = torch.randn((1, self.model.unet["in_channels"], self.side, self.side), generator=generator)
        both = torch.stack([states[1], states[0]])
        for t in schedule.timesteps:
            values = {"sample": torch.cat([latents] * 2), "timestep": t.reshape(1).repeat(2), "encoder_hidden_states": both}
            without, with_prompt = predicted(values).chunk(2)
            latents = schedule.step(without + 7.5 * (with_prompt - without), t, latents).prev_sample
        picture = decoded(latents / self.model.vae.get("scaling_factor", 0.18215))
        return (picture / 2 + 0.5).clamp(0, 1)

    def picture(self, ours_states, states):
        unet = self.model.load(diffusers.UNet2DConditionModel, "unet")
        vae = self.model.load(diffusers.AutoencoderKL, "vae")
        theirs = self.draw(lambda values: predict(unet, values), states, lambda z: vae.decode(z).sample)
        del unet, vae
        released()
        ours = self.draw(lambda values: self.forward("unet", values)["sample"], ours_states, lambda z: self.forward("vae-decode", {"latents": z})["sample"])
        for name, picture in (("ours", ours), ("diffusers", theirs)):
            save_png(picture, self.out / f"picture-{name}.png")
        far = float((ours - theirs).abs().max()) * 255
        self.row(f"a picture, {STEPS} steps, every network ours", relative(ours, theirs), PICTURE, f"at most {far:.2f} of 255 in a pixel")

    def trained(self, name, rate, more=""):
        """Trains two steps; the folder of the kept checkpoint."""
        size = max(self.model.factor * 8, self.model.side * self.model.factor // 2)
        text = EXPERIMENT.format(out=json.dumps(str(self.out)), model=json.dumps(str(self.model.folder)), size=size, device=self.device, rate=rate)
        file = self.out / f"{name}.toml"
        file.write_text(text + more)
        begin = time.monotonic()
        self.run(file, "--out", self.out / name)
        (kept,) = (self.out / name).glob(f"trajectories/*/*/seed-0/{name}/step-000002")
        return kept, f"trained in {time.monotonic() - begin:.0f} s at {size} px"

    def lora(self, states):
        kept, note = self.trained("lora", 5e-3, "[lora]\nrank = 4\n")
        (file,) = kept.glob("*.safetensors")
        values = self.unet_inputs(501, states)
        before = self.forward("unet", values)["sample"]
        ours = self.forward("unet", values, "--lora", file)["sample"]
        for what, place, name in (("kohya", kept, file.name), ("PEFT", kept / "diffusers", "pytorch_lora_weights.safetensors")):
            unet = self.model.load(diffusers.UNet2DConditionModel, "unet")
            state, alphas, *_ = diffusers.StableDiffusionPipeline.lora_state_dict(place, weight_name=name, unet_config=unet.config)
            diffusers.StableDiffusionPipeline.load_lora_into_unet(state, alphas, unet)
            self.row(f"U-Net with the trained LoRA, {what} file", relative(ours, predict(unet, values)), PART, note)
            note = ""
            del unet
            released()
        self.changed("the LoRA", before, ours)
        drawn = self.out / "drawn"
        self.run("generate", self.out / "lora", "--step", 2, "--prompt", "a photo of {} in the snow", "-n", 1, "--out", drawn)
        print(f"    `rpo-train generate` drew {next(drawn.iterdir())}")

    def whole(self, states):
        name = "the whole U-Net, trained, read by diffusers"
        if self.quick:
            return self.without(name, "--quick")
        try:
            kept, note = self.trained("unet", 1e-4)
        except Failed as e:
            if "memory" not in e.done.stderr:
                raise
            return self.without(name, "this machine has too little memory: " + e.done.stderr.strip().splitlines()[0][:160])
        values = self.unet_inputs(501, states)
        before = self.forward("unet", values)["sample"]
        ours = self.forward("unet", values, model=kept)["sample"]
        unet = self.model.load(diffusers.UNet2DConditionModel, "unet", kept)
        self.row(name, relative(ours, predict(unet, values)), PART, note)
        self.changed("the whole U-Net", before, ours)

    def changed(self, what, before, after):
        far = relative(after, before)
        ok = far > 10 * PART
        self.rows.append((f"two steps changed {what}", f"{far:.1e}", f"> {10 * PART:.0e}", "ok" if ok else "FAILED", ""))
        print(f"  {'two steps changed ' + what:<44} {far:9.1e} {'> %.0e' % (10 * PART):>9}  {'ok' if ok else 'FAILED'}", flush=True)

    def attempt(self, part, work):
        """What stops one part does not hide the others."""
        try:
            with torch.no_grad():
                return work()
        except (Failed, RuntimeError, OSError, ValueError, KeyError, AssertionError) as e:
            print(f"  {part}: {e}", flush=True)
            self.rows.append((part, "-", "-", "FAILED", str(e).splitlines()[0][:200]))

    def all(self):
        print(f"\n  {'part':<44} {'relative':>9} {'tolerance':>9}", flush=True)
        found = self.attempt("text encoder", self.texts)
        if found is not None:
            ours, states = found
            self.attempt("U-Net", lambda: self.unets(states))
            self.attempt("VAE", self.vaes)
            self.attempt("picture", lambda: self.picture(ours, states))
            self.attempt("LoRA", lambda: self.lora(states))
            self.attempt("whole U-Net", lambda: self.whole(states))
        (self.out / "in.safetensors").unlink(missing_ok=True)


class Failed(Exception):
    def __init__(self, message, done):
        super().__init__(message)
        self.done = done


def predict(unet, values):
    with torch.no_grad():
        return unet(values["sample"], values["timestep"], values["encoder_hidden_states"]).sample


def save_png(picture, path):
    from PIL import Image
    Image.fromarray((picture[0].permute(1, 2, 0).numpy() * 255).round().astype("uint8")).save(path)


def processor():
    try:
        names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def memory():
    """Bytes of this machine, and those free now; zeros where it cannot be told."""
    try:
        lines = dict(line.split(":", 1) for line in open("/proc/meminfo"))
        return tuple(int(lines[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return 0, 0


def graphics():
    try:
        done = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], capture_output=True, text=True, timeout=20)
        return done.stdout.strip().replace("\n", "; ") or "none"
    except (OSError, subprocess.TimeoutExpired):
        return "none"


def ahead(model, quick, out):
    """Says what it will take, and refuses what cannot end well."""
    u = 4 * model.parameters / 1e9
    ram = 3 * u + 1 if quick else 6 * u + 1
    disk = u + 0.5 if quick else 8 * u + 0.5
    minutes = (2 if quick else 8) * u + 0.5
    total, free = memory()
    room = shutil.disk_usage(out.parent).free
    print(f"U-Net of {model.parameters / 1e6:.0f} million parameters. Ahead: some {minutes:.0f} minutes on a CPU of 8 cores, longer on fewer; "
          f"memory up to {ram:.0f} GB" + ("" if quick else " (without so much, the whole U-Net is not trained, and the verdict says so)")
          + f"; disk up to {disk:.0f} GB in {out}, which may be deleted afterwards.")
    if total:
        print(f"This machine: {total / 1e9:.0f} GB of memory, {free / 1e9:.0f} free; {room / 1e9:.0f} GB of disk free.")
    if room < disk * 1e9:
        unusable(f"{out.parent} has {room / 1e9:.1f} GB free, of some {disk:.1f}", "another --out, or --quick")
    if total and free < (1.6 * u + 0.5) * 1e9:
        unusable(f"{free / 1e9:.1f} GB of memory are free, and the U-Net alone takes {1.6 * u + 0.5:.1f}", "end other programs")


def version_of(program):
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as e:
        unusable(f"{program} cannot be started ({e})", "build it with `cargo build --release -p rpo-train`, and name it with --program target/release/rpo-train")
    if done.returncode or "rpo-train" not in done.stdout:
        unusable(f"{program} --version says {done.stdout.strip()!r}", "name rpo-train with --program")
    return done.stdout.strip()


def verdict(verification, model, args, version, seconds):
    rows = verification.rows
    failed = [row for row in rows if row[3] == "FAILED"]
    skipped = [row for row in rows if row[3] == "not run"]
    ok = not failed and any(row[3] == "ok" for row in rows)
    python = f"Python {platform.python_version()}, torch {torch.__version__}, diffusers {diffusers.__version__}, transformers {transformers.__version__}, peft {peft.__version__}"
    total, _ = memory()
    lines = ["rpo-train against diffusers and transformers", f"program   {version}, sha256 {sha256(shutil.which(args.program) or args.program)[:16]}, device {args.device}",
             f"libraries {python}", f"machine   {platform.system()} {platform.machine()}, {processor()}, {os.cpu_count()} threads, {total / 1e9:.0f} GB; GPU {graphics()}",
             f"model     {model.folder.name}, {model.parameters / 1e6:.1f} M parameters in the U-Net, latents {verification.side} x {verification.side}"
             + (", --quick" if args.quick else "")]
    lines += [f"  {f.relative_to(model.folder)}  sha256 {sha256(f)}" for f in model.files]
    width = max(len(row[0]) for row in rows)
    lines.append(f"  {'part':<{width}}  {'relative':>9}  {'tolerance':>9}")
    lines += [f"  {part:<{width}}  {far:>9}  {most:>9}  {state}  {note}".rstrip() for part, far, most, state, note in rows]
    lines.append(f"verdict   {'PASS' if ok else 'FAIL'}" + (f", {len(failed)} failed" if failed else "") + (f", {len(skipped)} not run" if skipped else "")
                 + f", in {seconds / 60:.1f} minutes")
    bar = "-" * 20 + " paste from here " + "-" * 20
    text = "\n".join([bar, *lines, bar.replace("from", "to")])
    print("\n" + text)
    (verification.out / "verdict.txt").write_text(text + "\n")
    return ok


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("model", type=Path)
    ask.add_argument("--program", default="rpo-train")
    ask.add_argument("--out", type=Path, help="a new folder; default: verify-sd15-<time>")
    ask.add_argument("--device", default="cpu", help="where rpo-train computes: cpu or cuda (diffusers stays on the CPU)")
    ask.add_argument("--quick", action="store_true")
    args = ask.parse_args()
    begin = time.monotonic()
    out = (args.out or Path(time.strftime("verify-sd15-%Y%m%d-%H%M%S"))).absolute()
    if out.exists():
        unusable(f"{out} is there already, and nothing is overwritten", "name a new folder with --out")
    if not out.parent.is_dir():
        unusable(f"{out.parent} is no folder", "name a new folder in a folder that is there with --out")
    if os.sep in args.program:
        args.program = str(Path(args.program).resolve())
    version = version_of(args.program)
    model = Model(args.model.absolute())
    load_libraries()
    ahead(model, args.quick, out)
    out.mkdir()
    verification = Verification(args, model, out)
    verification.all()
    sys.exit(0 if verdict(verification, model, args, version, time.monotonic() - begin) else 1)


if __name__ == "__main__":
    main()
