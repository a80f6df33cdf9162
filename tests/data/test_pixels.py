"""Pixels of rarer files: grey of more than 8 bits, and marks by which decoders turn a picture."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from smoothiou.data.doctor import examine
from smoothiou.data.images import image_size, read_header, read_image, view_image
from smoothiou.errors import DataError
from tests.data.doctor_sets import TRAINING, annotate, voc

HALF = [0, 64, 128, 191, 255]
"""8-bit grey of 0, a quarter, a half, three quarters and all of a range, give or take one."""


def pgm(maximum: int, *, ascii_: bool = False) -> bytes:
    values = [round(maximum * share / 4) for share in range(5)]
    head = f"{'P2' if ascii_ else 'P5'}\n5 1\n{maximum}\n".encode()
    if ascii_:
        return head + " ".join(map(str, values)).encode()
    return head + (np.array(values, dtype=">u2").tobytes() if maximum > 255 else bytes(values))


def tiff(values: np.ndarray, *, bits: int, kind: int, photometric: int = 1, tags: dict[int, tuple[str, float]] = {}):  # noqa: B006
    """Return a one-row TIFF by hand: Pillow writes few of the layouts that it reads."""
    height, width = values.shape
    content = values.astype(values.dtype.newbyteorder("<")).tobytes()
    if bits == 12:
        digits = "".join(f"{value:012b}" for value in values.ravel())
        digits += "0" * (-len(digits) % 8)
        content = int(digits, 2).to_bytes(len(digits) // 8)
    entries = {
        256: ("H", width), 257: ("H", height), 258: ("H", bits), 259: ("H", 1), 262: ("H", photometric),
        273: ("I", 8), 277: ("H", 1), 278: ("H", height), 279: ("I", len(content)), 339: ("H", kind), **tags,
    }  # fmt: skip
    content += b"\0" * (len(content) % 2)
    directory = struct.pack("<H", len(entries))
    for tag, (code, value) in sorted(entries.items()):
        packed = struct.pack(f"<{code}", value).ljust(4, b"\0")
        directory += struct.pack("<HHI", tag, {"H": 3, "I": 4, "h": 8, "f": 11}[code], 1) + packed
    return b"II*\0" + struct.pack("<I", 8 + len(content)) + content + directory + b"\0\0\0\0"


@pytest.mark.parametrize("maximum", [15, 255, 1000, 4095, 65535])
@pytest.mark.parametrize("ascii_", [False, True])
def test_pgm_is_scaled_by_its_own_maximum(tmp_path, maximum, ascii_):
    (tmp_path / "a.pgm").write_bytes(pgm(maximum, ascii_=ascii_))
    assert np.asarray(read_image(tmp_path / "a.pgm"))[0, :, 0].tolist() == pytest.approx(HALF, abs=10)


SHARES = np.arange(5)[None] / 4


@pytest.mark.parametrize(
    ("content", "inverted"),
    [
        (tiff((SHARES * 4095).astype(np.uint16), bits=12, kind=1), False),
        (tiff((SHARES * 65535).astype(np.uint16), bits=16, kind=1), False),
        (tiff((SHARES * 65535).astype(np.uint16), bits=16, kind=1, photometric=0), True),
        (tiff((SHARES * 32767).astype(np.int16), bits=16, kind=2), False),
        (tiff((SHARES * 100).astype(np.float32), bits=32, kind=3, tags={340: ("f", 0), 341: ("f", 100)}), False),
        (tiff((SHARES * 1000).astype(np.int32), bits=32, kind=2, tags={280: ("H", 0), 281: ("H", 1000)}), False),
        (tiff((SHARES * 4095).astype(np.uint16), bits=16, kind=1, tags={280: ("H", 0), 281: ("H", 4095)}), False),
        (tiff((SHARES * 4095).astype(np.uint16), bits=16, kind=1, tags={281: ("H", 4095)}), False),
        (tiff((SHARES * 127).astype(np.int8), bits=8, kind=2), False),
        (tiff((SHARES * 255 - 128).astype(np.int8), bits=8, kind=2, tags={340: ("h", -128), 341: ("h", 127)}), False),
    ],
    ids=[
        *("12-bit", "16-bit", "16-bit-white-is-0", "signed-16", "float-with-range", "int32-with-range"),
        *("16-bit-with-range", "16-bit-with-maximum", "signed-8", "signed-8-with-range"),
    ],
)
def test_grey_of_a_tiff_is_scaled_by_the_depth_or_range_that_it_states(tmp_path, content, inverted):
    (tmp_path / "a.tif").write_bytes(content)
    grey = np.asarray(read_image(tmp_path / "a.tif"))[0, :, 0].tolist()
    assert (grey[::-1] if inverted else grey) == pytest.approx(HALF, abs=2)  # 7 bits are even values


@pytest.mark.parametrize(
    "content",
    [
        tiff((SHARES * 4095).astype(np.int32), bits=32, kind=2),
        tiff((SHARES * 4095).astype(np.uint32), bits=32, kind=1),
        tiff(SHARES.astype(np.float32), bits=32, kind=3),
        tiff(SHARES.astype(np.float32), bits=32, kind=3, tags={340: ("f", -math.inf), 341: ("f", math.inf)}),
        b"Pf\n5 1\n-1.0\n" + SHARES.astype("<f4").tobytes(),
    ],
    ids=["int32", "uint32", "float", "float-without-ends", "pfm"],
)
def test_grey_without_a_range_is_refused_by_the_header_already(tmp_path, content):
    (tmp_path / "a.tif").write_bytes(content)
    for read in (read_image, image_size):
        with pytest.raises(DataError, match="black"):
            read(tmp_path / "a.tif")
    assert "black" in read_header(tmp_path / "a.tif").problem


@pytest.mark.parametrize("dtype", [np.int8, np.int16])
def test_signed_grey_below_0_is_refused_for_nobody_knows_what_is_black(tmp_path, dtype):
    values = np.array([[-5, 0, 9]], dtype=dtype)
    (tmp_path / "a.tif").write_bytes(tiff(values, bits=8 * values.itemsize, kind=2))
    with pytest.raises(DataError, match="-5 to 9") as caught:
        read_image(tmp_path / "a.tif")
    assert "16 bits" not in str(caught.value)  # which it may have already


def marked(path: Path, orientation: int) -> Path:
    """Write 3 x 2 pixels of six greys with an orientation, and return the path."""
    image = Image.fromarray(np.arange(0, 240, 40, dtype=np.uint8).reshape(2, 3)).convert("RGB")
    if path.suffix == ".tif":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[0x0112] = orientation
        image.save(path, tiffinfo=tags)
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(path, exif=exif, **({"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {}))
    return path


STORED = [[0, 40, 80], [120, 160, 200]]
UPRIGHT = {
    1: STORED,
    2: [[80, 40, 0], [200, 160, 120]],
    3: [[200, 160, 120], [80, 40, 0]],
    4: [[120, 160, 200], [0, 40, 80]],
    5: [[0, 120], [40, 160], [80, 200]],
    6: [[120, 0], [160, 40], [200, 80]],
    7: [[200, 80], [160, 40], [120, 0]],
    8: [[80, 200], [40, 160], [0, 120]],
}
"""What a viewer shows of `STORED` under each of EXIF's numbers (TIFF 6.0, section 7)."""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["tif", "png", "jpg", "webp"])
def test_pixels_are_as_stored_in_every_type_and_upright_where_asked(tmp_path, ending, orientation):
    path = marked(tmp_path / f"a.{ending}", orientation)
    if ending == "webp":  # lossy
        assert (read_image(path).size, read_header(path).orientation) == ((3, 2), orientation)
        return
    grey = [np.asarray(read_image(path, upright=upright))[..., 0] for upright in (False, True)]
    assert grey[0] == pytest.approx(np.array(STORED), abs=4)
    assert grey[1] == pytest.approx(np.array(UPRIGHT[orientation]), abs=4)
    header = read_header(path)
    assert (header.width, header.height, header.orientation, image_size(path)) == (3, 2, orientation, (3, 2))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
def test_pixels_of_a_tiff_of_any_mode_are_as_stored_and_upright_where_asked(tmp_path, mode, compression, orientation):
    # Pillow maps the pixels of these modes into memory where they are not compressed.
    grey = np.array(STORED, dtype=np.uint8)
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    path = tmp_path / "a.tif"
    image.save(path, tiffinfo={0x0112: orientation}, compression=compression)
    for upright, expected in ((False, STORED), (True, UPRIGHT[orientation])):
        assert np.asarray(read_image(path, upright=upright))[..., 0].tolist() == expected


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP"])
def test_the_doctor_names_a_turned_picture_of_any_type(tmp_path, kind):
    root = voc(tmp_path / "voc")
    exif = Image.Exif()
    exif[0x0112] = 6
    (root / "JPEGImages" / "002.jpg").unlink()
    noise = np.random.default_rng(2).integers(0, 255, (80, 100, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "JPEGImages" / f"002.{kind.lower()}", exif=exif)
    annotate(root, "002", [("cat", (17, 17, 48, 48))])
    finding = examine(root, training=TRAINING).finding("exif-rotation")
    assert finding is not None
    assert "002" in finding.examples[0].where


def test_the_mark_of_a_png_may_stand_behind_its_pixels(tmp_path):
    path = marked(tmp_path / "a.png", 6)
    content = path.read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4])
    tail = content.index(b"IEND") - 4
    path.write_bytes(content[:start] + content[end:tail] + content[start:end] + content[tail:])
    assert read_header(path).orientation == 6
    assert (read_image(path).size, read_image(path, upright=True).size) == ((3, 2), (2, 3))


@pytest.mark.parametrize("kind", ["png", "tif", "pgm"])
def test_grey_of_16_bits_that_a_program_has_opened_is_scaled_as_from_its_file(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    Image.fromarray((SHARES * 65535).astype(np.uint16)).save(path)
    with Image.open(path) as image:
        assert np.asarray(view_image(image, where="image")).tolist() == np.asarray(read_image(path)).tolist()
    made = view_image(Image.fromarray((SHARES * 65535).astype(np.uint16)), where="image")
    assert np.asarray(made)[0, :, 0].tolist() == pytest.approx(HALF, abs=1)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_grey_that_a_program_has_made_is_refused_where_its_range_is_not_known(dtype):
    with pytest.raises(DataError, match="grey.*black"):
        view_image(Image.fromarray((SHARES * 1000).astype(dtype)), where="image")


@pytest.mark.parametrize("is_decoded", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["tif", "png", "jpg"])
def test_a_picture_that_a_program_has_opened_is_turned_once(tmp_path, ending, orientation, is_decoded):
    with Image.open(marked(tmp_path / f"a.{ending}", orientation)) as image:
        if is_decoded:
            image.load()
        grey = np.asarray(view_image(image, where="image"))[..., 0]
    assert grey == pytest.approx(np.array(UPRIGHT[orientation]), abs=4)
