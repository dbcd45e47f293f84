"""Damage to bytes and texts, drawn from a generator."""

from __future__ import annotations

import random
from typing import Any, Final

ODD_NUMBERS: Final = (
    *("0", "-1", "1", "2", "1e999", "-1e999", "nan", "inf", "NaN", "Infinity", "1e-400", "0x10"),
    *("9" * 20, "9" * 400, "9" * 5000, "1_000", "true", "null", "-0", "1.", ".5", "1e5", "2" * 10),
)
ODD_TEXTS: Final = (
    *("", " ", "\0", "\n", "\x1b[2J", "a" * 5000, "..", "/", "~", "~nobody/x", "../../etc/passwd"),
    *(
        "\ud800",
        "é",
        "日本",
        "\u202e",
        "'",
        '"',
        "\\",
        "%s",
        "{}",
        "None",
        "none",
        "nan",
        "-",
        "--",
    ),
    *("a:b", "sys:exit", "os:system", "npz:", "folder:/dev", "-1", "1-3", "[" * 200, "(" * 200),
)


def damaged(rng: random.Random, content: bytes) -> bytes:
    """``content`` with some bytes changed, cut out, put in or doubled."""
    result = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(result) + 1)
        length = rng.choice((1, 1, 2, 4, 16, 300))
        match rng.randrange(6):
            case 0:
                for at in range(place, min(place + length, len(result))):
                    result[at] = rng.randrange(256)
            case 1:
                del result[place : place + length]
            case 2:
                result[place:place] = rng.randbytes(length)
            case 3:
                result[place:place] = result[place : place + length]
            case 4:
                result[place : place + 4] = rng.choice(
                    (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80")
                )
            case _:
                if rng.random() < 0.3:
                    del result[place:]
    return bytes(result)


def damaged_text(rng: random.Random, text: str) -> str:
    """``text`` with lines dropped or doubled, numbers and words replaced."""
    lines = text.split("\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines))
        match rng.randrange(6):
            case 0:
                del lines[at]
                lines = lines or [""]
            case 1:
                lines.insert(at, lines[rng.randrange(len(lines))])
            case 2:
                head, sign, _ = lines[at].partition(rng.choice("=:"))
                lines[at] = f"{head}{sign} {rng.choice(ODD_NUMBERS)}"
            case 3:
                head, sign, _ = lines[at].partition(rng.choice("=:"))
                lines[at] = f"{head}{sign} {rng.choice(ODD_TEXTS)!r}"
            case 4:
                place = rng.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:place] + rng.choice(ODD_TEXTS) + lines[at][place:]
            case _:
                place = rng.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:place] + rng.choice("[]{}(),.:=\"'#\\ 0a") * rng.choice(
                    (1, 1, 3, 70)
                )
    return "\n".join(lines)


def odd_value(rng: random.Random, depth: int = 0) -> Any:
    """Any value that JSON or a keyword argument may have."""
    kinds: tuple[Any, ...] = (
        None, True, False, 0, -1, 1, 2**31, 2**64 - 1, 10**30, 0.5, 1e308, -1e308, 5e-324, "", "a",
        "none", [], {}, *ODD_TEXTS[:8],
    )  # fmt: skip
    if depth < 3 and rng.random() < 0.2:
        items = [odd_value(rng, depth + 1) for _ in range(rng.randrange(4))]
        return items if rng.random() < 0.5 else {str(i): item for i, item in enumerate(items)}
    if rng.random() < 0.01:
        nested: Any = 0
        for _ in range(rng.choice((10, 70, 900))):
            nested = [nested]
        return nested
    return rng.choice(kinds)


def with_odd_value(rng: random.Random, value: Any) -> Any:
    """A copy of ``value`` with one part of it replaced, removed or put beside."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        result = dict(value)
        key = rng.choice(list(result))
        match rng.randrange(8):
            case 0:
                del result[key]
            case 1:
                result[rng.choice(ODD_TEXTS)] = odd_value(rng)
            case _:
                result[key] = with_odd_value(rng, result[key])
        return result
    if isinstance(value, list) and value and rng.random() < 0.8:
        copy = list(value)
        at = rng.randrange(len(copy))
        match rng.randrange(6):
            case 0:
                del copy[at]
            case 1:
                copy.insert(at, copy[rng.randrange(len(copy))])
            case _:
                copy[at] = with_odd_value(rng, copy[at])
        return copy
    return odd_value(rng)
