#!/usr/bin/env python3
"""generate.py FILE.cu PREPROCESSED: a C++ file that includes FILE.cu and registers its kernels with the emulated GPU."""

import pathlib
import re
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


if __name__ == "__main__":
    print(kernels(*sys.argv[1:]), end="")
