"""Files of annotation tools are named with what to export."""

from __future__ import annotations

import json

import pytest

from smoothiou.data import load_dataset
from smoothiou.data.doctor import examine
from smoothiou.errors import DataError

CVAT = '<annotations><version>1.1</version><image id="0" name="a.jpg"><box label="dog" xtl="1"/></image></annotations>'


@pytest.mark.parametrize(
    ("file", "content", "tool"),
    [
        ("annotations.xml", CVAT, "CVAT"),
        ("annotations/annotations.xml", CVAT, "CVAT"),
        ("config.xml", "<View><RectangleLabels/></View>", "Label Studio"),
        ("export.json", json.dumps([{"id": 1, "data": {"image": "a.jpg"}, "annotations": []}]), "Label Studio"),
        ("min.json", json.dumps([{"image": "a.jpg", "id": 1, "label": [{"x": 1}]}]), "Label Studio"),
        ("a.json", json.dumps({"shapes": [], "imagePath": "a.jpg"}), "LabelMe"),
        ("via.json", json.dumps({"a.jpg1": {"filename": "a.jpg", "regions": []}}), "VGG"),
    ],
)
def test_files_of_tools_are_named_with_what_to_export(tmp_path, image_file, file, content, tool):
    image_file(tmp_path / "images" / "a.jpg")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content)
    for path in (tmp_path, tmp_path / file):
        for read in (load_dataset, examine):
            with pytest.raises(DataError) as caught:
                read(path)
            assert tool in caught.value.hint
            assert "xport" in caught.value.hint or "convert" in caught.value.hint
