"""Picture files of every kind that a folder of photos may hold, drawn from noise with the spectrum of photos.

`write(folder)` returns their paths; `load(path)` reads one as transformers' own `load_image` does: EXIF orientation
applied, then `convert("RGB")`, which drops transparency.

Made with Pillow 12.1, numpy 2, Python 3.11.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from transformers.image_utils import load_image


def photo(seed: int, width: int, height: int) -> Image.Image:
    """Noise whose amplitude falls with the frequency, coloured, with some hard-edged shapes in front."""
    generator = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    fall = 1.0 / np.maximum(np.hypot(fy, fx), 1.0 / max(width, height)) ** 1.3
    planes = []
    for _ in range(3):
        spectrum = fall * np.exp(2j * np.pi * generator.random(fall.shape))
        plane = np.fft.irfft2(spectrum, s=(height, width))
        planes.append(plane / max(plane.std(), 1e-9))
    shared = planes[0]
    pixels = np.stack([128 + 45 * (0.7 * shared + 0.5 * plane) for plane in planes], -1)
    for _ in range(4):
        x, y = generator.integers(0, max(1, width)), generator.integers(0, max(1, height))
        r = max(1, min(width, height) // 7)
        yy, xx = np.ogrid[:height, :width]
        inside = (xx - x) ** 2 + (yy - y) ** 2 < r * r
        pixels[inside] = generator.integers(0, 256, 3)
    return Image.fromarray(pixels.clip(0, 255).astype("uint8"))


def deep_png(path: Path, picture: Image.Image) -> None:
    """A PNG of 16 bits a channel in RGB, which Pillow cannot write."""
    high = np.asarray(picture).astype(np.uint16)
    low = (high * 57 + 91) % 256
    rows = (high * 256 + low).astype(">u2")
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    height, width = rows.shape[:2]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def write(folder: Path) -> list[Path]:
    """Writes the files; their names say what they are."""
    folder.mkdir(parents=True, exist_ok=True)
    landscape, portrait, square = photo(1, 640, 427), photo(2, 480, 720), photo(3, 512, 512)
    alpha = Image.fromarray(np.asarray(photo(4, 512, 512))[..., 0])
    clear = square.copy()
    clear.putalpha(alpha)
    grey_alpha = Image.merge("LA", (portrait.convert("L"), photo(5, 480, 720).convert("L")))
    palette = landscape.quantize(64)
    files = {
        "landscape.jpg": (landscape, {"quality": 90}),
        "portrait.jpg": (portrait, {"quality": 75}),
        "chroma-full.jpg": (square, {"quality": 95, "subsampling": 0}),
        "chroma-422.jpg": (landscape, {"quality": 85, "subsampling": 1}),
        "odd-size.jpg": (photo(6, 333, 251), {"quality": 80}),
        "progressive.jpg": (landscape, {"quality": 85, "progressive": True}),
        "grey.jpg": (portrait.convert("L"), {"quality": 90}),
        "cmyk.jpg": (square.convert("CMYK"), {"quality": 90}),
        "huge.jpg": (photo(7, 4000, 3000), {"quality": 88}),
        "landscape.png": (landscape, {}),
        "portrait.png": (portrait, {}),
        "grey.png": (landscape.convert("L"), {}),
        "grey-alpha.png": (grey_alpha, {}),
        "alpha.png": (clear, {}),
        "palette.png": (palette, {}),
        "palette-clear.png": (palette, {"transparency": 3}),
        "black-and-white.png": (portrait.convert("1"), {}),
        "tiny.png": (photo(8, 3, 5), {}),
        "narrow.png": (photo(9, 31, 600), {}),
        "wide.png": (photo(10, 900, 64), {}),
        "exact-224.png": (photo(11, 224, 224), {}),
        "lossy.webp": (landscape, {"quality": 80}),
        "lossless.webp": (portrait, {"lossless": True}),
        "alpha.webp": (clear, {"quality": 85}),
        "plain.bmp": (square, {}),
        "plain.tiff": (square, {}),
        "plain.gif": (palette, {}),
        "turned-6.png": (landscape, {"exif": turned(6)}),
    }
    for orientation in range(2, 9):
        files[f"turned-{orientation}.jpg"] = (landscape, {"quality": 90, "exif": turned(orientation)})
    for name, (picture, options) in files.items():
        picture.save(folder / name, **options)
    deep_png(folder / "deep.png", photo(12, 300, 200))
    return [folder / name for name in [*files, "deep.png"]]


def load(path: Path) -> Image.Image:
    picture = load_image(str(path))
    # A palette's transparent entry stays behind as a colour that CLIP's processor would then paint white.
    picture.info.pop("transparency", None)
    return picture
