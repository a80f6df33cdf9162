"""Limits on strangers' files: which are opened, how much of them is read, and how their text is printed. No torch.

Annotations, recipes and checkpoints come from strangers. So a reader opens regular files only (a named pipe would
wait for ever), stops at a stated size, and never lets their text steer a terminal.
"""

from __future__ import annotations

import errno
import functools
import mmap
import os
import re
import reprlib
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from smoothiou.errors import DataError

MAX_PIXELS = 2**26
"""Pixels of an image, 8192 x 8192, unless the settings allow more: decoded and converted, 0.7 GB at most."""
MOST_PIXELS = 178_956_970
"""Largest image that settings may allow; Pillow refuses more."""
MAX_NAME = 255
"""Characters of the name of a class, and bytes of the name of a file, which is what file systems allow."""
MAX_RATIO = 100
"""How many times its own size a packed file may hold. Annotations pack 5 to 20 times; a bomb, up to 1000 times."""
FREE = 2**24
"""Bytes that may be unpacked whatever the ratio: a file of blanks is no attack while it is small."""

# What a terminal or a page takes for a command: control characters, line ends, changes of the writing direction, and
# halves of a surrogate pair, which no encoding can write.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# How a pickle names `bytearray`, which torch's own safe reader calls with any number; its module has two names.
_EMPTY_BYTES = b"\nbytearray\n"
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 3, 120, 120, 40


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits that the user may widen.

    Args:
        pixels: most pixels of an image.
        links: whether links inside a data folder may lead out of it.
    """

    pixels: int = MAX_PIXELS
    links: bool = False


_LIMITS: ContextVar[Limits] = ContextVar("limits", default=Limits())  # noqa: B039, frozen


def limits() -> Limits:
    """Return the limits in force."""
    return _LIMITS.get()


@contextmanager
def allowing(allowed: Limits) -> Iterator[None]:
    """Put other limits in force for a while."""
    token = _LIMITS.set(allowed)
    try:
        yield
    finally:
        _LIMITS.reset(token)


# ---- opening


def require_regular(path: str | Path) -> os.stat_result:
    """Return the `stat` of a regular file, or of one behind a link.

    Raises:
        OSError: it is missing, a folder, a pipe, a device, or has a name that no file can have.
    """
    try:
        status = os.stat(path)
    except ValueError as error:  # a zero byte in the name
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device, and no file", str(path))
    return status


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        OSError: see `require_regular`.
    """
    require_regular(path)
    return open(path, "rb")


def read_bytes(path: str | Path, *, most: int) -> bytes:
    """Return the content of a regular file.

    Args:
        path: of the file.
        most: bytes; more are not read.

    Raises:
        OSError: see `require_regular`; or the file is larger.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        size = max(os.stat(path).st_size, len(content))
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, and at most {most:,} are read", str(path))
    return content


def unpack(packed: bytes, path: str | Path, *, most: int) -> bytes:
    """Return the content of a gzipped text, unpacking no more than is allowed.

    Args:
        packed: content of the file.
        path: of the file, for messages.
        most: bytes; also, more than `MAX_RATIO` times the packed bytes are refused once they are many.

    Raises:
        OSError: it holds more.
        EOFError: it is cut off.
        zlib.error: it is damaged.
    """
    most = min(most, max(FREE, MAX_RATIO * len(packed)))
    parts: list[bytes] = []
    room, rest = most, packed
    while rest:
        member = zlib.decompressobj(wbits=31)
        parts.append(member.decompress(rest, room + 1))
        room -= len(parts[-1])
        if room < 0:
            raise OSError(errno.EFBIG, f"it unpacks to more than {most:,} bytes from {len(packed):,}", str(path))
        if not member.eof:
            raise EOFError("it is cut off")
        rest = member.unused_data.lstrip(b"\0")
    return b"".join(parts)


def refuse_bomb(path: str | Path) -> None:
    """Refuse a checkpoint that would take more memory than its size; torch stores numbers as they are.

    Raises:
        OSError: see `require_regular`; or it is a zip file whose members hold more bytes than the file, or whose list
            of members is broken; or it asks for empty bytes by the number, which no state dict needs.
    """
    size = require_regular(path).st_size
    with open(path, "rb") as file:
        if size and file.read(2) != b"PK":
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                position = content.find(_EMPTY_BYTES)
        else:
            position = _pickles(path, size).find(_EMPTY_BYTES) if size else -1
    if position >= 0:
        raise OSError(errno.EINVAL, "it asks for a number of empty bytes, as no checkpoint does", str(path))


def _pickles(path: str | Path, size: int) -> bytes:
    """Return the pickles of a zip file, which describe its tensors."""
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(member.file_size for member in archive.infolist())
            if total > size:
                message = f"it unpacks to {total:,} bytes from {size:,}, and checkpoints are not packed"
                raise OSError(errno.EFBIG, message, str(path))
            # As torch finds them: data.PKL is as good.
            pickles = [member for member in archive.infolist() if member.filename.lower().endswith(".pkl")]
            return b"".join(archive.read(member) for member in pickles)
    except OSError:
        raise
    except zipfile.BadZipFile as error:
        reason = "a part does not match its checksum" if "CRC-32" in str(error) else "it is cut off"
        raise OSError(errno.EINVAL, f"{reason}: {error}", str(path)) from None
    except Exception as error:  # zipfile raises whatever its parsing meets
        raise OSError(errno.EINVAL, f"it is cut off, or no file of PyTorch's: {error}", str(path)) from None


# ---- links


def is_inside(path: str | Path, folders: tuple[str, ...]) -> bool:
    """Return whether a file, links followed, lies in one of some folders.

    Args:
        path: of the file.
        folders: real paths.
    """
    real = real_path(path)
    return any(real == folder or real.startswith(folder.rstrip("/") + "/") for folder in folders)


def real_path(path: str | Path) -> str:
    """Return the path of a file with all links followed, of its folder once for all its files."""
    path = os.path.join(os.getcwd(), path)  # not abspath, which takes `link/..` for nothing
    parent = _real(os.path.dirname(path))
    return os.path.realpath(path) if os.path.islink(path) else os.path.join(parent, os.path.basename(path))


def real_folder(folder: str | Path) -> str:
    """Return the path of a folder with all links followed."""
    return _real(os.path.join(os.getcwd(), folder))


@functools.lru_cache(maxsize=1024)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def refuse_links_out(path: Path, *, root: Path, where: str) -> Path:
    """Return a file of a data folder, unless it is reached through a link that leads out of it.

    The data folder itself may be a link.

    Args:
        path: of the file.
        root: the data folder.
        where: what names the file, for messages.

    Raises:
        DataError: it leads out, and that was not allowed.
    """
    if not limits().links and not is_inside(path, (real_folder(root),)):
        raise DataError(
            f"{where}: {path} is a link that leads out of the data folder, to {os.path.realpath(path)}.",
            hint="Put the files themselves into the data folder, or allow it with --data.follow_links true.",
        )
    return path


# ---- text


def printable(text: str) -> bool:
    """Return whether a text steers no terminal, ends no line, and can be written in UTF-8."""
    return not _HIDDEN.search(text)


def visible(text: str, *, allowed: str = "") -> str:
    r"""Return a text with control characters spelt out: the escape character becomes `\x1b`.

    Args:
        text: of anyone.
        allowed: characters that stay as they are ("\n").
    """

    def spelt(match: re.Match[str]) -> str:
        return match[0] if match[0] in allowed else match[0].encode("unicode_escape").decode()

    return _HIDDEN.sub(spelt, text)


def reason_of(error: BaseException) -> str:
    """Return why a file cannot be read: what the system says, or the error's own message."""
    return str(getattr(error, "strerror", None) or error)


def first_line(error: BaseException) -> str:
    """Return the first line of why something fails, without escape codes, or the error's type where it says nothing."""
    return visible((reason_of(error).strip().splitlines() or [type(error).__name__])[0])


def short(value: Any) -> str:
    """Return a value as Python writes it, cut to what a message can hold, however large or deep it is."""
    return _SHORT.repr(value)


def check_word(text: str, *, what: str, where: str) -> str:
    """Return a name that an annotation gives to something, in the form of Unicode NFC, if it can be printed.

    Args:
        text: the name.
        what: what is called so, for messages ("class").
        where: the annotation, for messages.

    Raises:
        DataError: it holds control characters or line ends, or is longer than `MAX_NAME`.
    """
    if _HIDDEN.search(text):
        raise DataError(
            f"{where}: the name of the {what} holds control characters or a line end: {short(text)}.",
            hint="Write it in letters.",
        )
    if len(text) > MAX_NAME:
        raise DataError(
            f"{where}: the name of the {what} has {len(text):,} characters, and at most {MAX_NAME} are read: "
            f"{short(text)}."
        )
    return unicodedata.normalize("NFC", text)
