"""JSON files of a study, read strictly: the schema, and the type of each key. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smoothiou import files, manifest
from smoothiou.errors import DataError


def read_record(path: str | Path, types: Mapping[str, type]) -> dict[str, Any]:
    """Return the content of a JSON file of this schema version.

    Args:
        path: of the file.
        types: keys that it must have, with the type of each.

    Raises:
        DataError: the file is missing, broken or of another schema, or a key is missing or of another type.
    """
    content = files.read_json(path)
    version = content.get("schema_version") if isinstance(content, dict) else type(content).__name__
    if version != manifest.SCHEMA_VERSION:
        raise DataError(f"{path}: expected schema_version {manifest.SCHEMA_VERSION}, got {version!r}.")
    for key, kind in types.items():
        if not isinstance(content.get(key), kind):
            raise DataError(f"{path}: {key}: expected a {kind.__name__}, got {type(content.get(key)).__name__}.")
    return content
