"""`fetch-data` touches nothing without --yes, and says in one sentence why it could not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from smoothiou.data.fetch import SOURCES, fetch
from smoothiou.errors import ConfigError, DataError

# A port that nobody listens on: every request is refused at once, whatever network the machine has.
OFFLINE = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9") | {
    "no_proxy": "",
    "NO_PROXY": "",
}


def test_without_yes_nothing_is_touched(smoothiou, tmp_path):
    result = smoothiou("fetch-data", "pets", **OFFLINE)
    assert result.returncode == 0, result.stderr
    assert "792 MB  https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz" in result.stdout
    assert "Nothing was downloaded. With --yes, 811 MB go to data" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_json_and_the_list(smoothiou):
    facts = json.loads(smoothiou("fetch-data", "voc2012", "--json", "--out", "there").stdout)
    assert facts["bytes"] == 1999639040
    assert (facts["folder"], facts["downloaded"]) == ("there/VOCdevkit/VOC2012", False)
    listed = smoothiou("fetch-data").stdout
    assert all(name in listed for name in SOURCES)


@pytest.mark.parametrize("name", ["pets", "voc2007"])
def test_without_a_network_one_sentence_and_exit_3(smoothiou, tmp_path, name):
    result = smoothiou("fetch-data", name, "--yes", "--out", "there", **OFFLINE)
    assert result.returncode == 3, result.stderr
    assert f"{SOURCES[name].title} could not be downloaded to there: " in result.stderr
    assert "Connection refused" in result.stderr
    assert "Check the network" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_torchvision_cannot_download_is_not_downloaded(smoothiou, tmp_path):
    assert "fetch it by hand" in smoothiou("fetch-data", "udacity").stderr
    result = smoothiou("fetch-data", "udacity", "--yes", **OFFLINE)
    assert result.returncode == 2
    assert "torchvision has no download" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_unknown_names_are_refused(smoothiou):
    result = smoothiou("fetch-data", "pet", "--yes", **OFFLINE)
    assert result.returncode == 2
    assert 'Did you mean "pets"' in result.stderr


def test_addresses_are_those_that_torchvision_fetches():
    from torchvision.datasets import OxfordIIITPet
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    def told(name: str) -> list[str]:
        return [url for url, _ in SOURCES[name].archives]

    assert told("pets") == [url for url, _ in OxfordIIITPet._RESOURCES]
    assert told("voc2007") == [DATASET_YEAR_DICT[part]["url"] for part in ("2007", "2007-test")]
    assert told("voc2012") == [DATASET_YEAR_DICT["2012"]["url"]]


def test_torchvision_is_asked_for_each_part_and_the_data_folder_is_told(monkeypatch, tmp_path, capsys):
    from torchvision.datasets import voc

    asked = []

    def download(url: str, root: str, filename: str, md5: str) -> None:
        print("talking")
        asked.append((Path(url).name, md5))
        lists = Path(root) / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main"
        lists.mkdir(parents=True, exist_ok=True)
        for part in ("trainval", "test"):
            (lists / f"{part}.txt").write_text("")

    monkeypatch.setattr(voc, "download_and_extract_archive", download)
    assert fetch("voc2007", tmp_path) == tmp_path / "VOCdevkit" / "VOC2007"
    assert [name for name, _ in asked] == ["VOCtrainval_06-Nov-2007.tar", "VOCtest_06-Nov-2007.tar"]
    assert all(len(md5) == 32 for _, md5 in asked)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("File not found or corrupted."), "File not found or corrupted"),
        (TimeoutError("timed out"), "timed out"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_every_failure_of_a_download_is_one_sentence(monkeypatch, tmp_path, error, said):
    from torchvision.datasets import voc

    def download(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(voc, "download_and_extract_archive", download)
    with pytest.raises(DataError, match=f"VOC 2012.*{said}"):
        fetch("voc2012", tmp_path)


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("smoothiou.data.fetch.shutil.disk_usage", lambda _: usage(10**10, 7 * 10**9, 3 * 10**9))
    with pytest.raises(DataError, match=r"4\.0 GB .*3\.0 GB"):
        fetch("voc2012", tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="COCO 2017"):
        fetch("coco", tmp_path)


def test_reading_about_data_needs_no_torch():
    code = "import sys; from smoothiou.data.fetch import SOURCES; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_explains_itself(smoothiou):
    result = smoothiou("fetch-data", "--help")
    assert result.returncode == 0
    assert "Download it." in result.stdout
