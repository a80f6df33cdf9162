"""`smoothiou fetch-data`: what a public data set would cost to fetch, and the download itself with --yes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from smoothiou.cli.options import Json


def fetch_data(
    name: str = "",
    *,
    yes: Annotated[bool, Parameter(negative="", help="Download it.")] = False,
    out: Annotated[Path, Parameter(help="Folder that archives and data go to.")] = Path("data"),
    json_: Json = False,
) -> None:
    """Print what would be downloaded, from where and how large; download it only with --yes.

    Examples:
        smoothiou fetch-data pets
        smoothiou fetch-data voc2007 --yes --out data

    Args:
        name: pets, voc2007, voc2012, udacity or coco; empty for the list.
    """
    from smoothiou.data.fetch import SOURCES, fetch, find_source

    if not name:
        facts = {key: {"title": source.title, "bytes": source.bytes} for key, source in SOURCES.items()}
        lines = [f"{key:8} {_size(source.bytes):>8}  {source.title}" for key, source in SOURCES.items()]
        print(json.dumps(facts) if json_ else "\n".join(lines))
        return
    source = find_source(name)
    facts = {
        "name": name,
        "title": source.title,
        "archives": [{"url": url, "bytes": size} for url, size in source.archives],
        "bytes": source.bytes,
        "page": source.page,
        "splits": source.splits,
        "folder": str(out / source.folder),
        "downloaded": False,
    }
    if yes:
        folder = fetch(name, out)
        facts["downloaded"] = True
        print(json.dumps(facts) if json_ else folder)
        return
    if json_:
        print(json.dumps(facts))
        return
    lines = [source.title, *(f"  {_size(size):>8}  {url}" for url, size in source.archives)]
    lines += [f"  page and terms of use: {source.page}", f"  splits: {source.splits}"]
    print("\n".join(lines))
    if source.fetch is None:
        hint = "torchvision has no download of it: fetch it by hand, unpack it, and pass the folder as DATA."
    else:
        hint = f"Nothing was downloaded. With --yes, {_size(source.bytes)} go to {out}, and unpacked as much again."
    print(hint, file=sys.stderr)


def _size(count: int) -> str:
    """Return a size in units of 1000."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
