"""Faults that tests put into a sound data set, and what the doctor says of each."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tests.data.doctor_sets import annotate, boxes_of, noise


def name_of(value) -> str | None:
    return getattr(value, "__name__", None)


def broken_xml(root: Path) -> None:
    (root / "Annotations" / "001.xml").write_text("<annotation><object>")


def no_image_data(root: Path) -> None:
    (root / "JPEGImages" / "001.jpg").write_text("this is no image")


def very_long(root: Path) -> None:
    noise(root / "JPEGImages" / "001.jpg", seed=1, size=(1, 400))
    annotate(root, "001", [], size=(1, 400))


def cut_off(root: Path) -> None:
    path = root / "JPEGImages" / "002.jpg"
    path.write_bytes(path.read_bytes()[:-400])


def no_image(root: Path) -> None:
    (root / "JPEGImages" / "001.jpg").unlink()


def no_annotation(root: Path) -> None:
    (root / "Annotations" / "004.xml").unlink()


def empty_split(root: Path) -> None:
    (root / "ImageSets" / "Main" / "test.txt").write_text("")


def bare_split(root: Path) -> None:
    for name in ("020", "021"):
        noise(root / "JPEGImages" / f"{name}.jpg", seed=int(name))
    (root / "ImageSets" / "Main" / "more.txt").write_text("020\n021\n")


def other_size(root: Path) -> None:
    annotate(root, "002", boxes_of(2), size=(200, 160))


def flat(root: Path) -> None:
    annotate(root, "002", [("cat", (20, 30, 40, 29)), *boxes_of(2)])


def not_a_number(root: Path) -> None:
    annotate(root, "002", [("cat", ("nan", 30, 40, 50)), *boxes_of(2)])


def inverted(root: Path) -> None:
    annotate(root, "002", [("cat", (60, 10, 30, 50)), *boxes_of(2)])


def past_the_edge(root: Path) -> None:
    annotate(root, "002", [("cat", (60, 10, 103, 50)), ("dog", (300, 10, 340, 50)), *boxes_of(2)])


def just_past_the_edge(root: Path) -> None:
    annotate(root, "002", [("cat", (60, 10, 100.4, 50)), *boxes_of(2)])


def point(root: Path) -> None:
    annotate(root, "002", [("cat", (20, 30, 20, 30)), *boxes_of(2)])


def tiny(root: Path) -> None:
    annotate(root, "002", [("cat", (20, 30, 40, 32)), ("dog", (20, 50, 21, 52)), *boxes_of(2)])


def twice(root: Path) -> None:
    annotate(root, "002", [*boxes_of(2), boxes_of(2)[0]])


def thin(root: Path) -> None:
    annotate(root, "002", [("cat", (5, 30, 84, 34)), *boxes_of(2)])


def spelt(root: Path) -> None:
    annotate(root, "002", [("Cat", (40, 30, 71, 61)), *boxes_of(2)])


def only_in_val(root: Path) -> None:
    annotate(root, "007", [("hamster", (40, 30, 71, 61)), *boxes_of(7)])


def only_in_train(root: Path) -> None:
    for name in ("001", "002", "003", "004", "005"):
        annotate(root, name, [("hamster", (40, 30, 71, 61)), *boxes_of(int(name))])


def rare(root: Path) -> None:
    annotate(root, "002", [("hamster", (40, 30, 71, 61)), *boxes_of(2)])
    annotate(root, "007", [("hamster", (40, 30, 71, 61)), *boxes_of(7)])


def long_tailed(root: Path) -> None:
    for name in range(6):
        annotate(root, f"{name:03d}", [("cat", (1 + x, 1 + name, 32 + x, 32 + name)) for x in range(20)])
    annotate(root, "002", [("dog", (40, 30, 71, 61))])


def empty(root: Path) -> None:
    annotate(root, "003", [])


def same_bytes(root: Path) -> None:
    (root / "JPEGImages" / "007.jpg").write_bytes((root / "JPEGImages" / "002.jpg").read_bytes())


def in_both_lists(root: Path) -> None:
    with (root / "ImageSets" / "Main" / "val.txt").open("a") as file:
        file.write("002\n")


def same_bytes_in_one_split(root: Path) -> None:
    (root / "JPEGImages" / "003.jpg").write_bytes((root / "JPEGImages" / "002.jpg").read_bytes())


def saved_again(root: Path) -> None:
    with Image.open(root / "JPEGImages" / "002.jpg") as image:
        image.resize((200, 160)).save(root / "JPEGImages" / "007.jpg", quality=70)
    annotate(root, "007", boxes_of(7), size=(200, 160))


def turned(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(root / "JPEGImages" / "002.jpg", seed=2, exif=exif)


def png_called_jpg(root: Path) -> None:
    noise(root / "JPEGImages" / "002.jpg", seed=2, kind="PNG")


def with_alpha(root: Path) -> None:
    with Image.open(root / "JPEGImages" / "002.jpg") as image:
        image.convert("RGBA").save(root / "JPEGImages" / "002.png")
    (root / "JPEGImages" / "002.jpg").unlink()


def in_no_list(root: Path) -> None:
    noise(root / "JPEGImages" / "030.jpg", seed=30)


FAULTS = [
    (broken_xml, "unreadable-annotation", 1, "Annotations/001.xml", "line 1: not well-formed XML"),
    (no_image_data, "unreadable-image", 1, "train: 001", "not an image of a known type"),
    (cut_off, "unreadable-image", 1, "train: 002", "truncated"),
    (no_image, "missing-image", 1, "Annotations/001.xml", "the image 001 does not exist"),
    (no_annotation, "missing-annotation", 1, "004", 'is in the list "train", but has no annotation'),
    (empty_split, "empty-split", 1, "test", "has no images"),
    (very_long, "long-image", 1, "train: 001", "has 1 x 400 pixels"),
    (bare_split, "empty-split", 1, "more", "has 2 images, of which none has an annotation"),
    (other_size, "size-mismatch", 1, "Annotations/002.xml", "says 200 x 160 pixels, but the image file has 100 x 80"),
    (flat, "no-area", 1, "Annotations/002.xml: object 1", "has no area (x 19 to 40, y 29 to 29)"),
    (not_a_number, "no-area", 1, "Annotations/002.xml: object 1", "has no area (x nan to 40, y 29 to 50)"),
    (inverted, "inverted-box", 1, "Annotations/002.xml: object 1", "(x 59 to 30, y 9 to 50)"),
    (past_the_edge, "outside-image", 2, "Annotations/002.xml: object 2", "lies outside its image of 100 x 80"),
    (just_past_the_edge, "overhang", 1, "Annotations/002.xml: object 1", "leaves its image by 0.4 pixels"),
    (point, "point-box", 1, "Annotations/002.xml: object 1", "is 1 x 1 pixels (x 19 to 20, y 29 to 30)"),
    (tiny, "tiny-box", 2, "Annotations/002.xml: object 2", "is 2 x 3 pixels, 2 x 3 when trained"),
    (twice, "duplicate-box", 1, "Annotations/002.xml: object 3", "is the same as object 1 (cat)"),
    (thin, "extreme-ratio", 1, "Annotations/002.xml: object 1", "is 80 x 5 pixels"),
    (spelt, "class-spelling", 1, "cat", 'is spelt "cat" (9 boxes), "Cat" (1 box)'),
    (only_in_val, "unlearnt-class", 1, "hamster", 'has 1 box in "val", and none in "train"'),
    (only_in_train, "unmeasured-class", 1, "hamster", 'has 5 boxes in "train", and none in "val"'),
    (rare, "rare-class", 1, "hamster", 'has 1 box in "train"'),
    (long_tailed, "long-tail", 1, "train", "cat has 100 of 101 boxes (99 %), the rarest classes dog 1"),
    (empty, "no-boxes", 1, "train: 003", "has no box"),
    (same_bytes, "same-photo", 1, "val: 007", 'is 002 of the split "train"'),
    (in_both_lists, "same-photo", 1, "val: 002", 'is 002 of the split "train"'),
    (same_bytes_in_one_split, "duplicate-image", 1, "train: 003", 'has the same bytes as 002 of the split "train"'),
    (saved_again, "look-alike", 1, "val: 007", 'looks like 002 of the split "train"'),
    (turned, "exif-rotation", 1, "train: 002", "has the EXIF orientation 6"),
    (png_called_jpg, "wrong-ending", 1, "002.jpg", "holds PNG data"),
    (with_alpha, "not-rgb", 1, "002.png", "is with alpha (PNG)"),
    (in_no_list, "unlisted-image", 1, "030.jpg", "is in no split"),
]


def coco_faults() -> list:
    def image_twice(content: dict) -> None:
        content["images"].append({**content["images"][0], "file_name": "001.jpg"})

    def annotation_twice(content: dict) -> None:
        content["annotations"][3]["id"] = content["annotations"][0]["id"]

    def listed_twice(content: dict) -> None:
        content["images"].append({**content["images"][1], "id": 99})
        content["annotations"][2]["image_id"] = 99

    def unknown_class(content: dict) -> None:
        content["annotations"][2]["category_id"] = 77

    def unknown_image(content: dict) -> None:
        content["annotations"][2]["image_id"] = 77

    def no_box(content: dict) -> None:
        content["annotations"][2]["bbox"] = [1, 2, "three", 4]

    def no_object(content: dict) -> None:
        content["annotations"].append("box")

    def super_category(content: dict) -> None:
        content["categories"].append({"id": 90, "name": "animal"})

    def climbs(content: dict) -> None:
        content["images"][1]["file_name"] = "../../../etc/passwd"

    file = "instances_train.json"
    return [
        (image_twice, "duplicate-id", f"{file}: images[6]", "000.jpg"),
        (annotation_twice, "duplicate-id", f"{file}: annotations[3]", "the id 1 is taken by an earlier"),
        (listed_twice, "duplicate-name", f"{file}: images[6]", "001.jpg is listed under the id 6, too"),
        (unknown_class, "unknown-label", f"{file}: annotations[2]", "no category has the id 77"),
        (unknown_image, "unknown-image", f"{file}: annotations[2]", "no image has the id 77"),
        (no_box, "unreadable-annotation", f"{file}: annotations[2]", '"bbox" must be [x, y, width, height]'),
        (no_object, "unreadable-annotation", f"{file}: annotations[12]", "expected an object"),
        (super_category, "unused-class", "animal", "has no box in any split"),
        (climbs, "unreadable-image", "train: ../../../etc/passwd", "must be a relative path"),
    ]
