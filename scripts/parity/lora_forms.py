"""Every form of a LoRA file that the libraries here write, merged by them and by `rpo-train lora merge`.

    python scripts/parity/lora_forms.py target/debug/rpo-train

The U-Nets are small and random, in the layouts of SD 1.x and XL (scripts/parity/lora.py). For each form a line with the largest
relative error (L2) of a weight, and how many weights changed:
  peft        `PeftModel.save_pretrained` with every key that changes the strength, alone and together, patterns as regular
              expressions; the folder and the file by itself; against `PeftModel.from_pretrained(...).merge_and_unload()`
  diffusers   `save_lora_weights` and `save_lora_adapter` of the same adapters; against `load_lora_weights` / `load_lora_adapter` and
              `fuse_lora`
  spellings   the same values under the keys of other programs; against `merge_and_unload` of the adapter that they were taken from
  refused     what peft writes that is no plain LoRA: exit code 2, nothing written, and a message with the key
  card        the Python of a model card that a run wrote, run as it stands beside the files
Ends with an error if a figure is above 1e-6, or something is read that should be refused.

Made with torch 2.15.0, diffusers 0.42.1, peft 0.21.2, safetensors 0.8.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import peft
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils.state_dict_utils import convert_state_dict_to_kohya
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from lora import ATTENTION, EVERYTHING, FAMILIES, MICRO, SMALL, relative, train

LIMIT = 1e-6
failures = []


def unet(family, folder):
    torch.manual_seed(1)
    model = UNet2DConditionModel(**SMALL, **FAMILIES[family]["unet"]).eval()
    model.save_pretrained(folder / "unet")
    return folder / "unet"


def fresh(folder):
    return UNet2DConditionModel.from_pretrained(folder).eval()


def random_adapter(folder, **more):
    """The U-Net wrapped by peft, with A and B at random."""
    model = get_peft_model(fresh(folder), LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": EVERYTHING, **more}))
    g = torch.Generator().manual_seed(7)
    for name, p in model.named_parameters():
        if "lora_" in name:
            p.data = torch.randn(p.shape, generator=g) * 0.3 / p[0].numel() ** 0.5
    return model


def weights(model):
    return {k.replace(".base_layer", ""): v for k, v in model.state_dict().items() if ".lora_" not in k}


def rpo(binary, *args):
    return subprocess.run([str(a) for a in (binary, *args)], capture_output=True, text=True)


def compare(binary, what, lora, folder, theirs, work):
    out = work / "merged"
    shutil.rmtree(out, ignore_errors=True)
    done = rpo(binary, "lora", "merge", lora, "--model", folder, "--to", out)
    if done.returncode:
        print(f"    {what:<66} {done.stderr.strip()}")
        failures.append(what)
        return
    ours, base = (load_file(d / "diffusion_pytorch_model.safetensors") for d in (out, folder))
    assert set(ours) == set(theirs) == set(base)
    error = max(relative(ours[k], theirs[k]) for k in ours)
    changed = [sum(not torch.equal(x[k], base[k]) for k in base) for x in (theirs, ours)]
    print(f"    {what:<66} {error:9.2e} {changed[0]} weights changed", flush=True)
    if not error <= LIMIT or changed[0] != changed[1] or not changed[0]:
        failures.append(what)


STRENGTHS = {
    "r, lora_alpha": {},
    "use_rslora": {"use_rslora": True},
    "alpha_pattern": {"alpha_pattern": {"to_q": 3, "conv1": 9}},
    "alpha_pattern, regular expressions": {"alpha_pattern": {r"^mid_block.*to_[qk]": 3, r"attentions\.\d+\.proj_in": 9, "to_(?!q).": 5}},
    "alpha_pattern, several fit": {"alpha_pattern": {r"attn1\.to_q": 3, ".*to_q": 9, "to_v": 5, ".*": 2}},
    "rank_pattern": {"rank_pattern": {"to_q": 2, r".*resnets\..*": 3}},
    # Rank patterns that overlap do not survive peft's save_pretrained, which sorts them.
    "rank_pattern, alpha_pattern": {"rank_pattern": {"to_q": 2, r"^up_blocks.*conv1": 3}, "alpha_pattern": {"to_q": 8, "conv2": 1}},
    "rank_pattern, alpha_pattern, use_rslora": {"rank_pattern": {"to_q": 2}, "alpha_pattern": {"to_[kq]": 8}, "use_rslora": True},
    "init gaussian, fan_in_fan_out, dropout": {"init_lora_weights": "gaussian", "fan_in_fan_out": True, "lora_dropout": 0.1},
    "attention only, exclude_modules": {"target_modules": ATTENTION, "exclude_modules": r".*up_blocks.*"},
}


def strengths(binary, work):
    folder = unet("sd1", work)
    print("  peft: save_pretrained")
    for what, more in STRENGTHS.items():
        place = work / "adapter"
        shutil.rmtree(place, ignore_errors=True)
        random_adapter(folder, **more).save_pretrained(place)
        theirs = PeftModel.from_pretrained(fresh(folder), place).merge_and_unload().state_dict()
        compare(binary, what, place, folder, theirs, work)
        if more.get("alpha_pattern"):
            # The order in the file decides; peft saves its tables sorted, a hand does not.
            file = place / "adapter_config.json"
            config = json.loads(file.read_text())
            config["alpha_pattern"] = dict(reversed(config["alpha_pattern"].items()))
            file.write_text(json.dumps(config))
            theirs = PeftModel.from_pretrained(fresh(folder), place).merge_and_unload().state_dict()
            compare(binary, f"{what}, in the other order; the file by itself", place / "adapter_model.safetensors", folder, theirs, work)
    print("  diffusers: save_lora_weights, save_lora_adapter")
    for what, more in STRENGTHS.items():
        model = random_adapter(folder, **more)
        lora, config = get_peft_model_state_dict(model.get_base_model()), model.peft_config["default"].to_dict()
        lora = {k.removeprefix("base_model.model."): v for k, v in lora.items()}
        StableDiffusionPipeline.save_lora_weights(work / "pipe", unet_lora_layers=lora, unet_lora_adapter_metadata=config)
        plain = fresh(folder)
        state, alphas, metadata = StableDiffusionPipeline.lora_state_dict(work / "pipe", unet_config=plain.config, return_lora_metadata=True)
        StableDiffusionPipeline.load_lora_into_unet(state, alphas, plain, metadata=metadata)
        plain.fuse_lora()
        compare(binary, f"pipeline, {what}", work / "pipe", folder, weights(plain), work)
        plain = fresh(folder)
        plain.load_lora_adapter(state, prefix="unet", metadata=metadata, adapter_name="default")
        plain.save_lora_adapter(work / "part")
        plain.fuse_lora()
        compare(binary, f"U-Net alone, {what}", work / "part", folder, weights(plain), work)


def original(name, layers=2):
    """The name in the released checkpoint's numbering of a module of SDXL's layout."""
    step = layers + 1
    resnet = {"conv1": "in_layers.2", "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}
    if m := re.fullmatch(r"(down|up)_blocks\.(\d)\.(resnets|attentions)\.(\d)\.(.*)", name):
        n = int(m[2]) * step + int(m[4]) + (m[1] == "down")
        return f"{'input' if m[1] == 'down' else 'output'}_blocks.{n}.{int(m[3] == 'attentions')}.{resnet.get(m[5], m[5])}"
    if m := re.fullmatch(r"down_blocks\.(\d)\.downsamplers\.0\.conv", name):
        return f"input_blocks.{(int(m[1]) + 1) * step}.0.op"
    if m := re.fullmatch(r"up_blocks\.(\d)\.upsamplers\.0\.conv", name):
        return f"output_blocks.{int(m[1]) * step + layers}.2.conv"
    if m := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        return f"middle_block.{1 if m[1] == 'attentions' else 2 * int(m[2])}.{resnet.get(m[3], m[3])}"
    raise ValueError(name)


def spellings(binary, work):
    folder = unet("sdxl", work)
    model = random_adapter(folder)
    raw = {k: v.clone() for k, v in model.state_dict().items() if ".lora_" in k}
    merged = model.merge_and_unload().state_dict()
    pairs = {}
    for key, value in raw.items():
        name, part = re.fullmatch(r"base_model\.model\.(.*)\.lora_([AB])\.default\.weight", key).groups()
        pairs.setdefault(name, {})[part] = value
    alpha = torch.tensor(6.0)

    def kohya(place):
        return {f"{place(n)}.{e}": v for n, p in pairs.items()
                for e, v in (("lora_down.weight", p["A"]), ("lora_up.weight", p["B"]), ("alpha", alpha))}

    def scaled(a, b, place):
        # Without alpha the product is taken as it is.
        return {f"{place(n)}.{e}": v for n, p in pairs.items() for e, v in ((a, p["A"] * 1.5), (b, p["B"]))}

    flat = lambda n: n.replace(".", "_")  # noqa: E731
    peft_keys = {f"unet.{n}.lora_{e}.weight": v for n, p in pairs.items() for e, v in p.items()}
    by_diffusers = {k: alpha if k.endswith(".alpha") else v for k, v in convert_state_dict_to_kohya(peft_keys).items()}
    forms = {
        "kohya by diffusers (convert_state_dict_to_kohya)": by_diffusers,
        "kohya, diffusers' numbering": kohya(lambda n: "lora_unet_" + flat(n)),
        "kohya, the checkpoint's numbering (sd-scripts for SDXL)": kohya(lambda n: "lora_unet_" + flat(original(n))),
        "LyCORIS alone": kohya(lambda n: "lycoris_" + flat(n)),
        "OneTrainer (unet.output_blocks...)": kohya(lambda n: "unet." + original(n)),
        "OneTrainer with a bundled embedding and a text encoder": kohya(lambda n: "unet." + original(n))
        | {"bundle_emb.it.clip_l": torch.randn(2, 8), "clip_l.text_model.x.lora_up.weight": torch.randn(2, 2)},
        "ComfyUI (diffusion_model., the checkpoint's numbering)": kohya(lambda n: "diffusion_model." + original(n)),
        "ComfyUI (diffusion_model., diffusers' numbering)": kohya(lambda n: "diffusion_model." + n),
        "model.diffusion_model.": kohya(lambda n: "model.diffusion_model." + original(n)),
        "lora_A.default, with the adapter's name": scaled("lora_A.default.weight", "lora_B.default.weight", lambda n: "unet." + n),
        "unet.base_model.model.": scaled("lora_A.weight", "lora_B.weight", lambda n: "unet.base_model.model." + n),
        "diffusers of 2023 (lora.down, lora.up)": scaled("lora.down.weight", "lora.up.weight", lambda n: "unet." + n),
        "peft's keys with .alpha": {k: v for n, p in pairs.items() for k, v in (
            (f"unet.{n}.lora_A.weight", p["A"]), (f"unet.{n}.lora_B.weight", p["B"]), (f"unet.{n}.alpha", torch.tensor(6)))},
    }
    print("  spellings")
    for what, tensors in forms.items():
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, work / "form.safetensors")
        compare(binary, what, work / "form.safetensors", folder, merged, work)
    # LyCORIS' Tucker form, composed by PyTorch's own convolutions.
    name = "mid_block.resnets.0.conv1"
    base = load_file(folder / "diffusion_pytorch_model.safetensors")
    out, inputs = base[f"{name}.weight"].shape[:2]
    g = torch.Generator().manual_seed(9)
    down, mid, up = (torch.randn(s, generator=g) * 0.1 for s in ((4, inputs, 1, 1), (4, 4, 3, 3), (out, 4, 1, 1)))
    key = "lora_unet_" + flat(original(name))
    save_file({f"{key}.lora_down.weight": down, f"{key}.lora_mid.weight": mid, f"{key}.lora_up.weight": up, f"{key}.alpha": alpha},
              work / "form.safetensors")
    # The answer to each input channel's impulse is the kernel, turned around.
    impulse = torch.zeros(inputs, inputs, 5, 5)
    impulse[range(inputs), range(inputs), 2, 2] = 1
    conv = torch.nn.functional.conv2d
    kernel = conv(conv(conv(impulse, down), mid), up).flip(2, 3).transpose(0, 1)
    theirs = dict(base)
    theirs[f"{name}.weight"] = base[f"{name}.weight"] + 6 / 4 * kernel
    compare(binary, "LyCORIS' Tucker form (lora_mid)", work / "form.safetensors", folder, theirs, work)


REFUSED = {
    "DoRA": LoraConfig(use_dora=True, target_modules=ATTENTION),
    "biases trained": LoraConfig(bias="lora_only", target_modules=ATTENTION),
    "biases of the adapter": LoraConfig(lora_bias=True, target_modules=["to_out.0"]),
    "modules trained as a whole": LoraConfig(modules_to_save=["conv_in"], target_modules=ATTENTION),
    "PiSSA": LoraConfig(init_lora_weights="pissa", target_modules=ATTENTION),
    "OLoRA": LoraConfig(init_lora_weights="olora", target_modules=ATTENTION),
    "LoHa": peft.LoHaConfig(target_modules=ATTENTION),
    "LoKr": peft.LoKrConfig(target_modules=ATTENTION),
    "OFT": peft.OFTConfig(oft_block_size=4, target_modules=["to_q"]),
    "BOFT": peft.BOFTConfig(boft_block_size=4, target_modules=["to_q"]),
    "IA3": peft.IA3Config(target_modules=["to_q"], feedforward_modules=[]),
    "VeRA": peft.VeraConfig(target_modules=["to_out.0"]),
    "HRA": peft.HRAConfig(target_modules=["to_q"]),
}


def refused(binary, work):
    folder = unet("sd1", work)
    print("  refused")
    for what, config in REFUSED.items():
        place = work / "refused"
        shutil.rmtree(place, ignore_errors=True)
        try:
            get_peft_model(fresh(folder), config).save_pretrained(place)
        except Exception as e:  # noqa: BLE001
            print(f"    {what:<28} peft does not write it here: {str(e)[:60]}")
            continue
        done = rpo(binary, "lora", "merge", place, "--model", folder, "--to", work / "no")
        message = done.stderr.strip().splitlines()[0] if done.stderr else ""
        print(f"    {what:<28} {done.returncode} {message.split('/')[-1][:120]}")
        if done.returncode != 2 or (work / "no").exists():
            failures.append(what)


def card(binary, work):
    print("  card")
    step = train(binary, MICRO, work)
    text = (step / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    # The base model's folder, where the snippet names it.
    (step / MICRO.name).symlink_to(MICRO)
    done = subprocess.run([sys.executable, "-c", code + '\npicture.save("picture.png")'], cwd=step, capture_output=True, text=True)
    ended = done.stderr.strip().splitlines()[-1:] or [""]
    print(f"    its snippet, with the embedded model: {'a picture' if (step / 'picture.png').is_file() else ended[0]}")
    if done.returncode or not (step / "picture.png").is_file():
        failures.append("card")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path)
    binary = parser.parse_args().binary.resolve()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for part in (strengths, spellings, refused, card):
        work = Path(tempfile.mkdtemp(prefix="rpo-lora-forms-"))
        try:
            part(binary, work)
        finally:
            shutil.rmtree(work)
    if failures:
        sys.exit("not as it should be: " + ", ".join(failures))


if __name__ == "__main__":
    main()
