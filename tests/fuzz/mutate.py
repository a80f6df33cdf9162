"""Turns good files into bad ones, from one source of randomness: by bytes, and by what the text means."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable
from typing import Any

WORDS = (
    *("0", "-1", "1", "1.5", "-0.0", "1e999", "-1e999", "NaN", "Infinity", "-Infinity", "9" * 30, "9" * 5000),
    *("1e-320", "true", "false", "null", "[]", "{}", '""', '"x"', '"1"', "0x10", "1_0", "٣", "1e5", "2147483648"),
    *('"\\u0000"', '"\\ud800"', '"\\u001b[31m"', '"../../etc/passwd"', '"/etc/passwd"', '"C:\\\\a"', '"a/../../b"'),
    *("\x00", "\x1b[2J", "\u202e", "\ufeff", "\u2028", "<script>", "&lol;", "../a", "", " ", "\t", "\r", ",", "'", '"'),
    *("18446744073709551616", "-9223372036854775809", "99999999999999999999.5", '"9"', "inf", "nan", "--1", "+1", "1."),
)
RUNS = ("[", "{", '{"a":', "<a>", "(", " ", "\t", "0", "9", "a.", ".", ",", '"', "\n", "x", "=", "\\", "-", "1 ", "&a;")
DOCTYPE = '<!DOCTYPE a [<!ENTITY a "{}"><!ENTITY b SYSTEM "file:///etc/passwd">]>'


def mutate(content: bytes, chance: random.Random, *, kind: str, most: int = 2**20) -> bytes:
    """Return a worse version of a file.

    Args:
        content: a good one.
        chance: decides everything.
        kind: what it holds: "json", "xml", "lines", "toml" or "bytes".
        most: bytes of the result.
    """
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        changes: list[Callable[[bytes, random.Random], bytes]] = list(BYTES)
        if kind != "bytes":
            changes += [*TEXT, *TEXT, *MEANING[kind] * 4]
        content = chance.choice(changes)(content, chance)[:most]
    return content


# ---- by bytes


def _flip(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        if changed:
            changed[chance.randrange(len(changed))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return bytes(changed)


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content) + 1)]


def _take_out(content: bytes, chance: random.Random) -> bytes:
    start, length = chance.randrange(len(content) + 1), chance.choice((1, 2, 4, 16, 64))
    return content[:start] + content[start + length :]


def _repeat(content: bytes, chance: random.Random) -> bytes:
    start, length = chance.randrange(len(content) + 1), chance.choice((1, 4, 16, 64, 256))
    part = content[start : start + length]
    return content[:start] + part * chance.choice((2, 3, 10, 1000)) + content[start:]


def _number(content: bytes, chance: random.Random) -> bytes:
    start, length = chance.randrange(len(content) + 1), chance.choice((1, 2, 4, 8))
    value = chance.choice(
        (0, 1, 2**7, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1, chance.getrandbits(64))
    )
    part = (value % 256**length).to_bytes(length, chance.choice(("little", "big")))
    return content[:start] + part + content[start + length :]


def _move(content: bytes, chance: random.Random) -> bytes:
    first, second = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    return content[second:] + content[first:second] + content[:first]


BYTES = (_flip, _flip, _cut, _take_out, _repeat, _number, _move)


# ---- by text


def _insert_word(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content) + 1)
    return content[:start] + chance.choice(WORDS).encode() + content[start:]


def _insert_run(content: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(content) + 1)
    return content[:start] + chance.choice(RUNS).encode() * chance.choice((10, 1000, 5000, 100_000)) + content[start:]


def _encode(content: bytes, chance: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    return text.encode(chance.choice(("utf-16", "utf-16-be", "utf-32", "utf-8-sig", "utf-7")), "replace")


def _pack(content: bytes, chance: random.Random) -> bytes:
    return gzip.compress(content, 1, mtime=0)


def _line_ends(content: bytes, chance: random.Random) -> bytes:
    return content.replace(b"\n", chance.choice((b"\r\n", b"\r", b"", b"\n\n", b"\x0b", b"\n\0")))


TEXT = (_insert_word, _insert_run, _encode, _pack, _line_ends)


# ---- by meaning


def _json_value(content: bytes, chance: random.Random) -> bytes:
    """Replace, repeat or take out one value anywhere, also by texts that are no JSON."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return content
    mark, places = '"@HERE@"', _places(tree)
    if not places:
        return chance.choice(WORDS).encode()
    holder, key = chance.choice(places)
    deed = chance.randrange(5)
    if deed == 0:
        del holder[key]
    elif deed == 1 and isinstance(holder, list):
        holder += [holder[key]] * chance.choice((1, 2, 1000))
    elif deed == 2 and isinstance(holder, dict):
        text = json.dumps(tree)
        name = json.dumps(key)
        return text.replace(name, f"{name}: {chance.choice(WORDS)}, {name}", 1).encode()
    elif deed == 3:
        other = chance.choice(places)
        holder[key] = other[0][other[1]]
        if json_is_circular(tree):
            return content
    else:
        holder[key] = "@HERE@"
    word = chance.choice(WORDS)
    if chance.random() < 0.1:
        bracket = chance.choice(("[]", "{}"))
        depth = chance.choice((10, 900, 990, 5000, 100_000))
        word = "[" * depth + "]" * depth if bracket == "[]" else '{"a":' * depth + "1" + "}" * depth
    return json.dumps(tree).replace(mark, word).encode()


def json_is_circular(tree: Any) -> bool:
    try:
        json.dumps(tree)
    except (ValueError, RecursionError):
        return True
    return False


def _places(tree: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    todo = [tree]
    while todo and len(found) < 3000:
        here = todo.pop()
        keys = list(here) if isinstance(here, dict) else list(range(len(here))) if isinstance(here, list) else []
        found += [(here, key) for key in keys]
        todo += [here[key] for key in keys]
    return found


def _xml_text(content: bytes, chance: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    found = list(re.finditer(r">([^<]*)<", text))
    if not found:
        return content
    place = chance.choice(found)
    return (text[: place.start(1)] + chance.choice(WORDS).strip('"') + text[place.end(1) :]).encode("utf-8", "replace")


def _xml_tag(content: bytes, chance: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    found = list(re.finditer(r"</?\w+>", text))
    if not found:
        return content
    place = chance.choice(found)
    other = chance.choice(
        ("", place[0] * 2, chance.choice(found)[0], "<![CDATA[", "<!--", "<?xml?>", "<a b='1' b='2'/>")
    )
    return (text[: place.start()] + other + text[place.end() :]).encode()


def _xml_entities(content: bytes, chance: random.Random) -> bytes:
    use = content.replace(b"</name>", chance.choice((b"&a;</name>", b"&b;</name>", b"&#0;</name>", b"&#27;</name>")))
    return DOCTYPE.format(chance.choice(("x", "x" * 10_000, "&a;"))).encode() + use


def _xml_encoding(content: bytes, chance: random.Random) -> bytes:
    name = chance.choice(("utf-7", "utf-16", "rot13", "idna", "hex", "cp1252", "utf-8", "shift_jis", "x" * 100, "zlib"))
    return f'<?xml version="1.0" encoding="{name}"?>'.encode() + content


def _field(content: bytes, chance: random.Random) -> bytes:
    lines = content.split(b"\n")
    number = chance.randrange(len(lines))
    separator = b"," if b"," in lines[number] else b" "
    fields = lines[number].split(separator)
    fields[chance.randrange(len(fields))] = chance.choice(WORDS).encode()
    lines[number] = separator.join(fields)
    return b"\n".join(lines)


def _lines(content: bytes, chance: random.Random) -> bytes:
    lines = content.split(b"\n")
    deed = chance.randrange(4)
    if deed == 0:
        chance.shuffle(lines)
    elif deed == 1:
        del lines[chance.randrange(len(lines))]
    elif deed == 2:
        lines += [chance.choice(lines)] * chance.choice((1, 10, 10_000))
    else:
        lines.insert(chance.randrange(len(lines) + 1), chance.choice(WORDS).encode())
    return b"\n".join(lines)


def _toml(content: bytes, chance: random.Random) -> bytes:
    words = (*WORDS, "2026-01-01", "07:32:00", "[1, [2]]", "{a = 1}", "'''x'''", "1979-05-27T07:32:00Z")
    heads = (
        "[data]",
        "[data]\n[data]",
        "[a.b]",
        "[[data]]",
        "a.b.c = 1",
        "data = 1",
        "[train]\nsteps.x = 1",
        "[]",
        "=",
    )
    lines = content.split(b"\n")
    number = chance.randrange(len(lines))
    if b"=" in lines[number] and chance.random() < 0.7:
        lines[number] = lines[number].split(b"=")[0] + b"= " + chance.choice(words).encode()
    else:
        lines.insert(number, chance.choice(heads).encode())
    return b"\n".join(lines)


MEANING: dict[str, tuple[Callable[[bytes, random.Random], bytes], ...]] = {
    "json": (_json_value,),
    "xml": (_xml_text, _xml_text, _xml_tag, _xml_entities, _xml_encoding),
    "lines": (_field, _lines),
    "toml": (_toml, _lines),
}
