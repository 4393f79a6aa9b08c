"""Picture files and the pixels that Pillow reads from them, for the tests of `rpo-data`.

    python scripts/golden/pictures.py

Writes `crates/rpo-data/tests/golden/pictures`: each file beside `<file>.rgb.png`, what `ImageOps.exif_transpose` and then
`convert("RGB")` make of it.

Made with Pillow 12.1 (libjpeg-turbo 3.1), numpy 2, Python 3.11.
"""

import struct
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, TiffImagePlugin

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts" / "parity"))
import picture_files as files  # noqa: E402

GOLDEN = ROOT / "crates" / "rpo-data" / "tests" / "golden" / "pictures"


def every_form() -> None:
    """Small files of every form that is read, with every place where an orientation may lie."""
    photo, other = files.photo(4, 23, 17), files.photo(5, 23, 17)
    clear = photo.copy()
    clear.putalpha(other.convert("L"))
    bits, mapped, grey, cmyk = (photo.convert("1"), photo.quantize(32), photo.convert("L"), photo.convert("CMYK"))
    exif = files.turned(6).tobytes()
    attribute = b'<rdf:Description tiff:Orientation="8"/>'
    element = b"<tiff:Orientation>5</tiff:Orientation>"

    def save(picture: Image.Image, name: str, **how: object) -> None:
        picture.save(GOLDEN / name, **how)

    def png(name: str, keyword: str, text: str, packed: bool) -> None:
        texts = PngImagePlugin.PngInfo()
        add = texts.add_itxt if keyword.startswith("XML") else texts.add_text
        add(keyword, text, zip=packed)
        save(photo, name, pnginfo=texts)

    def tiff(name: str, tags: dict, **how: object) -> None:
        directory = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, value in tags.items():
            directory[tag] = value
        save(photo, name, tiffinfo=directory, **how)

    save(cmyk, "inks.jpg", quality=90)
    save(photo, "stored-rgb.jpg", keep_rgb=True)
    save(photo, "restarts.jpe", format="JPEG", restart_marker_rows=1)
    save(photo, "two.mpo", format="MPO", save_all=True, append_images=[other])
    save(photo, "xmp.jpg", xmp=attribute, quality=90)
    save(photo, "exif-before-xmp.jpg", xmp=attribute, exif=exif)
    save(photo, "exif.webp", exif=exif, lossless=True)
    save(photo, "xmp.webp", xmp=element, lossless=True)
    save(photo, "moving.webp", lossless=True, save_all=True, append_images=[other])
    save(photo, "exif.png", exif=exif)
    late = (GOLDEN / "exif.png").read_bytes()
    start = late.index(b"eXIf") - 4
    after = start + struct.unpack(">I", late[start : start + 4])[0] + 12
    end = late.index(b"IEND") - 4
    (GOLDEN / "late-exif.png").write_bytes(late[:start] + late[after:end] + late[start:after] + late[end:])
    png("xmp.png", "XML:com.adobe.xmp", attribute.decode(), packed=True)
    digits = (b"Exif\0\0" + exif.removeprefix(b"Exif\0\0")).hex()
    lines = "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    for name, packed in [("profile.png", True), ("plain-profile.png", False)]:
        png(name, "Raw profile type exif", f"\nexif\n{len(digits) // 2:8}\n{lines}\n", packed)
    save(bits, "bits.png")
    save(grey.convert("LA"), "grey-alpha.png")
    save(photo, "moving.png", save_all=True, append_images=[other])
    save(mapped, "clear.gif", transparency=5)
    save(mapped, "moving.gif", save_all=True, append_images=[other.quantize(32)])
    save(mapped, "mapped.bmp")
    save(bits, "bits.bmp")
    save(clear, "alpha.bmp")
    tiff("packed.tif", {317: 2}, compression="tiff_lzw")
    tiff("tiles.tif", {322: 16, 323: 16}, compression="tiff_deflate")
    tiff("turned.tif", {274: 6})
    save(cmyk, "inks.tif", compression="packbits")
    save(bits, "fax.tif", compression="group4")
    save(mapped, "mapped.tga", compression="tga_rle")
    save(clear, "alpha.tga", orientation=1)
    right = bytearray((GOLDEN / "alpha.tga").read_bytes())
    right[17] |= 0x10
    (GOLDEN / "right.tga").write_bytes(right)
    save(bits, "bits.pbm")
    save(grey, "grey.pgm")
    plain = " ".join(str(value) for value in np.asarray(photo).ravel())
    (GOLDEN / "plain.ppm").write_text(f"P3\n# by hand\n23 17\n255\n{plain}\n")
    save(clear, "alpha.qoi")


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
    every_form()
    for path in sorted(GOLDEN.iterdir()):
        if not path.name.endswith(".rgb.png"):
            picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
            picture.info.clear()
            picture.save(GOLDEN / f"{path.name}.rgb.png", optimize=True)


if __name__ == "__main__":
    main()
