"""Picture files and the pixels that Pillow reads from them, for the tests of `rpo-data`.

    python scripts/golden/pictures.py

Writes `crates/rpo-data/tests/golden/pictures`: each file beside `<file>.rgb.png`, what `ImageOps.exif_transpose` and then
`convert("RGB")` make of it.

Made with Pillow 12.1 (libjpeg-turbo 3.1), numpy 2, Python 3.11.
"""

import sys
from pathlib import Path

from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts" / "parity"))
import picture_files as files  # noqa: E402

GOLDEN = ROOT / "crates" / "rpo-data" / "tests" / "golden" / "pictures"


def main() -> None:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    photo, odd = files.photo(1, 96, 64), files.photo(2, 61, 45)
    clear = odd.copy()
    clear.putalpha(files.photo(3, 61, 45).convert("L"))
    photo.save(GOLDEN / "half-chroma-turned.jpg", quality=85, exif=files.turned(6))
    odd.save(GOLDEN / "odd-422.jpg", quality=80, subsampling=1)
    odd.save(GOLDEN / "odd-progressive.jpg", quality=85, progressive=True)
    odd.convert("L").save(GOLDEN / "grey-turned.jpg", quality=85, exif=files.turned(3))
    odd.quantize(32).save(GOLDEN / "palette-clear.png", transparency=3)
    clear.save(GOLDEN / "alpha.webp", quality=80)
    files.deep_png(GOLDEN / "deep.png", odd)
    for path in sorted(GOLDEN.iterdir()):
        if not path.name.endswith(".rgb.png"):
            picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
            picture.info.clear()
            picture.save(GOLDEN / f"{path.name}.rgb.png", optimize=True)


if __name__ == "__main__":
    main()
