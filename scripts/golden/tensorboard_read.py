"""Reads an event file that rpo-report wrote with TensorBoard's own reader and keeps it as a golden file.

    RPO_EVENTS_TO=/tmp/events cargo test -p rpo-report --test tensorboard    (fails until the golden file is right)
    python scripts/golden/tensorboard_read.py /tmp/events/events.out.tfevents.1700000000.rpo

Checked with tensorboard 2.21. The file is copied to crates/rpo-report/tests/golden/events.tfevents only if every
event, checksums included, is read back as it was meant. `--picture` writes the 2 x 3 picture of the test first.
"""

import math
import shutil
import struct
import sys
import zlib
from pathlib import Path

GOLDEN = Path(__file__).resolve().parents[2] / "crates" / "rpo-report" / "tests" / "golden"


def picture() -> bytes:
    """2 wide, 3 high, RGB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes([40 * y, 255 - 40 * y, 90, 200, 30 * y, 10]) for y in range(3))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 3, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def check(path: Path) -> None:
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    events = list(LegacyEventFileLoader(str(path)).Load())
    clock = 1_700_000_000.25
    assert events[0].file_version == "brain.Event:2" and events[0].wall_time == clock
    read = [(e.wall_time - clock, e.step, e.summary.value[0]) for e in events[1:]]
    assert [(t, s, v.tag) for t, s, v in read] == [
        (1.0, 1, "owl/l_sim"),
        (2.0, 2, "owl/l_sim"),
        (2.0, 2, "löss/λ"),
        (3.5, 300, "owl/in a library"),
    ], read
    assert read[0][2].simple_value == 0.125
    assert read[1][2].simple_value == struct.unpack("f", struct.pack("f", -1e-3))[0]
    assert math.isnan(read[2][2].simple_value)
    image = read[3][2].image
    assert (image.width, image.height, image.colorspace) == (2, 3, 3)
    assert image.encoded_image_string == picture()


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    if sys.argv[1:] == ["--picture"]:
        (GOLDEN / "two_by_three.png").write_bytes(picture())
        return
    path = Path(sys.argv[1])
    check(path)
    shutil.copyfile(path, GOLDEN / "events.tfevents")
    print(f"read as meant; kept as {GOLDEN / 'events.tfevents'}")


if __name__ == "__main__":
    main()
