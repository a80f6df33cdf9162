"""Images are decoded by what they are, found where they may be, and refused with one sentence otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smoothiou.data.image_finder import ImageFinder, check_file_name
from smoothiou.data.images import image_size, read_image
from smoothiou.errors import DataError
from smoothiou.files import Limits, allowing


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_the_content_decides_and_not_the_ending(tmp_path, image_file, kind):
    path = image_file(tmp_path / "picture.jpg", (30, 20), kind=kind)
    image = read_image(path)
    assert (image.mode, image.size, image_size(path)) == ("RGB", (30, 20), (30, 20))
    red, green, blue = image.getpixel((15, 10))
    assert red > 180
    assert green < 60
    assert blue < 70


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / "a.tif"
    Image.new(mode, (7, 5)).save(path)
    assert read_image(path).mode == "RGB"


def test_a_palette_with_transparency_becomes_rgb_without_a_warning(tmp_path):
    image = Image.new("P", (4, 4))
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.paste(1, (0, 0, 4, 4))
    image.save(tmp_path / "a.png", transparency=b"\x00\xff")
    assert read_image(tmp_path / "a.png").getpixel((1, 1)) == (255, 0, 0)


def test_16_bit_grey_is_scaled_and_not_cut_off(tmp_path):
    values = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.asarray(read_image(tmp_path / "a.png"))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif").getpixel((0, 0)) == (255, 0, 0)


def test_a_file_that_is_cut_off_names_itself(tmp_path, image_file):
    whole = image_file(tmp_path / "whole.jpg", (200, 200)).read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    assert image_size(tmp_path / "half.jpg") == (200, 200)
    with pytest.raises(DataError, match="half.jpg"):
        read_image(tmp_path / "half.jpg")


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n broken"])
def test_a_file_that_is_no_image_names_itself(tmp_path, content):
    (tmp_path / "text.jpg").write_bytes(content)
    for read in (read_image, image_size):
        with pytest.raises(DataError, match=r"text\.jpg: "):
            read(tmp_path / "text.jpg")


def test_a_missing_file_names_itself(tmp_path):
    with pytest.raises(DataError, match="gone.jpg"):
        read_image(tmp_path / "gone.jpg")


@pytest.mark.parametrize(
    "name", ["../a.jpg", "a/../../b.jpg", "/etc/a.jpg", "..\\a.jpg", "C:\\a.jpg", "C:/a.jpg", "", "\\a"]
)
def test_names_that_lead_away_are_refused(name):
    with pytest.raises(DataError, match="here.*name"):
        check_file_name(name, where="here")


@pytest.mark.parametrize(
    ("name", "path"), [("a.jpg", "a.jpg"), ("./b/a.jpg", "b/a.jpg"), ("b\\a.jpg", "b/a.jpg"), ("a..b", "a..b")]
)
def test_names_that_stay_are_kept(name, path):
    assert check_file_name(name, where="") == Path(path)


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_followed(tmp_path, image_file):
    outside = image_file(tmp_path / "outside" / "secret.jpg")
    inside = image_file(tmp_path / "data" / "images" / "real.jpg")
    root, images = tmp_path / "data", tmp_path / "data" / "images"
    (images / "bad.jpg").symlink_to(outside)
    (images / "good.jpg").symlink_to(inside)
    (images / "sub").symlink_to(outside.parent)
    finder = ImageFinder(root, [images])
    assert finder.by_stem("good", file_name="", where="a") == images / "good.jpg"
    for find in (
        lambda: finder.by_stem("bad", file_name="", where="a.xml"),
        lambda: finder.by_path("bad.jpg", where="a.xml"),
        lambda: finder.by_path("sub/secret.jpg", where="a.xml"),
    ):
        with pytest.raises(DataError, match=r"a\.xml: .*data folder"):
            find()


def test_an_image_folder_may_be_a_link_as_large_sets_often_are_where_links_are_allowed(tmp_path, image_file):
    image_file(tmp_path / "disk" / "a.jpg")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images").symlink_to(tmp_path / "disk")
    finder = ImageFinder(tmp_path / "data", [tmp_path / "data" / "images"])
    with pytest.raises(DataError, match="a.xml: .*link .*--data.follow_links true"):
        finder.by_path("a.jpg", where="a.xml")
    with allowing(Limits(links=True)):
        assert finder.by_path("a.jpg", where="") == tmp_path / "data" / "images" / "a.jpg"


def test_of_two_endings_the_one_that_the_annotation_names_is_taken(tmp_path, image_file):
    for ending in ("jpg", "png"):
        image_file(tmp_path / f"a.{ending}")
    (tmp_path / "a.xml").write_text("no image")
    finder = ImageFinder(tmp_path, [tmp_path])
    assert finder.by_stem("a", file_name="a.png", where="") == tmp_path / "a.png"
    with pytest.raises(DataError, match=r"a\.jpg or a\.png"):
        finder.by_stem("a", file_name="", where="")
    assert finder.by_stem("b", file_name="", where="") is None
    assert finder.stems() == {"a"}
