"""Images that mean harm stop with their name, in little time and memory."""

from __future__ import annotations

import io
import os
import struct
import zlib

import pytest
from PIL import Image

from smoothiou.data import load_dataset
from smoothiou.data.image_finder import ImageFinder
from smoothiou.data.images import image_size, read_image
from smoothiou.errors import DataError
from smoothiou.files import Limits, allowing


def png_of(width: int, height: int) -> bytes:
    """Return a PNG of a few hundred bytes that claims any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        whole = kind + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(8193, 8192), (100_000, 1000), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, size):
    (tmp_path / "a.png").write_bytes(png_of(*size))
    for read in (image_size, read_image):
        with pytest.raises(DataError, match=r"a.png: .*(pixels|limit|could be)"):
            read(tmp_path / "a.png")


def test_the_settings_allow_more_or_fewer_pixels(tmp_path, make_voc):
    (tmp_path / "a.png").write_bytes(png_of(8193, 8192))
    with allowing(Limits(pixels=8193 * 8192)):
        assert image_size(tmp_path / "a.png") == (8193, 8192)
    root = make_voc({"train": {"a": [("dog", (1, 1, 9, 9))]}})
    with pytest.raises(DataError, match="100 x 80 .*--data.max_pixels 8000"):
        load_dataset(root, max_pixels=7999)
    dataset = load_dataset(root, max_pixels=8000)
    Image.new("RGB", (101, 80)).save(root / "JPEGImages" / "a.jpg")  # it grew after it was read
    with pytest.raises(DataError, match="8,000"):
        dataset.records[0].source.read()


def test_a_type_of_image_that_starts_other_programs_is_not_opened(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "EPS")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    for read in (image_size, read_image):
        with pytest.raises(DataError, match="a.jpg"):
            read(tmp_path / "a.jpg")


@pytest.mark.parametrize("what", ["pipe", "folder", "device", "socket-like"])
def test_things_named_like_images_are_refused_and_never_hang(tmp_path, what):
    path = tmp_path / "a.jpg"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if what == "device" else "/dev/tty")
    finder = ImageFinder(tmp_path, [tmp_path])
    assert finder.by_path("a.jpg", where="") is None
    for read in (image_size, read_image):
        with pytest.raises(DataError, match="a.jpg"):
            read(path)


def test_broken_images_raise_one_kind_of_error_whatever_the_decoder_meets(tmp_path, monkeypatch):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for error in (struct.error("x"), IndexError(), TypeError("x"), MemoryError(), AssertionError()):
        monkeypatch.setattr(Image.Image, "convert", lambda *_, error=error: (_ for _ in ()).throw(error))
        with pytest.raises(DataError, match="a.png"):
            read_image(tmp_path / "a.png")
