#!/usr/bin/env python3
"""Makes sources for the emulated GPU.

generate.py kernels FILE.cu PREPROCESSED   a C++ file that includes FILE.cu and registers its kernels
generate.py stubs MODULE RC IMPLEMENTED    C functions for all names that the cudarc crate declares in a module
                                           (src/MODULE/sys/mod.rs) but those in the file IMPLEMENTED
generate.py cudarc                         the folder of that crate, in the version of the workspace's Cargo.lock
"""

import json
import os
import pathlib
import re
import subprocess
import sys


def kernels(source: str, preprocessed: str) -> str:
    text = pathlib.Path(preprocessed).read_text()
    text = re.sub(r"^#.*$", "", text, flags=re.M)
    bounds = r"(?:__emulated_bounds__\s*\((?P<{}>[^()]*(?:\([^()]*\)[^()]*)*)\)\s*)?"
    pattern = (r'extern\s+"C"\s+__emulated_kernel__\s+' + bounds.format("a") + r"void\s+" + bounds.format("b")
               + r"(?P<name>\w+)\s*\(")
    lines = [f'#include "{source}"', '#include "register.h"', ""]
    for i, m in enumerate(re.finditer(pattern, text)):
        bound = (m["a"] or m["b"] or "0").split(",")[0]
        lines.append(f'static emulated::Register<{m["name"]}> register_{i}("{m["name"]}", {bound});')
    return "\n".join(lines) + "\n"


def stubs(module: str, rc: str, implemented: str) -> str:
    text = pathlib.Path(os.environ["CUDARC_SRC"], "src", module, "sys", "mod.rs").read_text()
    names = set(re.findall(r"\bfn ((?:cu|nvrtc)[A-Za-z0-9_]+) *\(", text))
    names -= set(pathlib.Path(implemented).read_text().split())
    return "".join(f"long {n}(void) {{ return {rc}; }}\n" for n in sorted(names))


def cudarc() -> str:
    here = pathlib.Path(__file__).resolve().parent
    lock = next(d / "Cargo.lock" for d in here.parents if (d / "Cargo.lock").is_file()).read_text()
    version = re.search(r'name = "cudarc"\nversion = "([^"]+)"', lock)[1]
    home = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
    for unpacked in home.glob(f"registry/src/*/cudarc-{version}"):
        return str(unpacked)
    command = ["cargo", "metadata", "-q", "--format-version", "1", "--locked", "--all-features"]  # fetches what is missing
    packages = json.loads(subprocess.run(command, cwd=here, check=True, capture_output=True).stdout)["packages"]
    return os.path.dirname(next(p["manifest_path"] for p in packages if p["name"] == "cudarc"))


if __name__ == "__main__":
    print({"kernels": kernels, "stubs": stubs, "cudarc": cudarc}[sys.argv[1]](*sys.argv[2:]), end="")
