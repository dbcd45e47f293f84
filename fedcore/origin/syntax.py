"""A digest of source code that comments, docstrings and layout do not change.

It is over the syntax tree. A statement that is nothing but a string (docstrings, and those below
attributes) computes nothing, and is left out unless a file asks for it: with ``__doc__`` for its
own, with ``thing.__doc__`` or `inspect` for those of all files. Everything else
counts: annotations, decorators, default values, names, the text of strings, the order of
statements. What is no Python, or no valid Python, counts byte for byte; so do C files.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

from fedcore.cache_folder import private_folder, user_cache

#: A name that stands for a file wherever it lies, and the file's content.
Text = tuple[str, bytes]

_FORM = "1"  # of what is digested; another one gives other digests
_OWN_DOCSTRING = re.compile(rb"__doc__")
_ANY_DOCSTRING = re.compile(rb"[.\"']__doc__|\b(getdoc|getsource|getsourcelines|doctest)\b")
_MOST_KEPT = 200  # digests in the cache folder


def digest(texts: Sequence[Text]) -> str:
    """16 hexadecimal digits of the SHA-256 over the syntax trees of ``texts``, in their order.

    Parsing fedcore takes 0.2 s, so the digest is kept in the user's cache directory under that of
    the bytes, where nobody else can write to that.
    """
    raw = hashlib.sha256(f"{_FORM} {sys.version_info[:2]}".encode())
    for name, content in texts:
        raw.update(f"\0{name}\0{len(content)}\0".encode() + content)
    key = raw.hexdigest()
    known = _kept(key)
    if known is not None:
        return known
    everywhere = any(_ANY_DOCSTRING.search(content) for _, content in texts)
    sha = hashlib.sha256(_FORM.encode())
    for name, content in texts:
        docstrings = everywhere or _OWN_DOCSTRING.search(content) is not None
        sha.update(f"\0{name}\0".encode() + canonical(name, content, docstrings))
    found = sha.hexdigest()[:16]
    _keep(key, found)
    return found


def canonical(name: str, content: bytes, docstrings: bool = False) -> bytes:
    """What of the file called ``name`` counts; equal for files that compute the same way.

    ``docstrings``: they count, too.
    """
    if not name.endswith(".py"):
        return b"bytes " + content
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the style of somebody else's code
            tree = ast.parse(content)
        parts: list[str] = ["tree "]
        _write(tree, parts, docstrings)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return b"bytes " + content
    return "".join(parts).encode()


def _write(node: ast.AST, parts: list[str], docstrings: bool) -> None:
    """Add ``node`` to ``parts`` so that different trees give different text."""
    if isinstance(node, ast.Constant):
        value = node.value
        # repr of an int refuses thousands of digits, hex does not
        shown = hex(value) if type(value) is int else repr(value)
        parts.append(f"({type(value).__name__} {shown})")
        return
    parts.append(f"({type(node).__name__}")
    for field in node._fields:
        value = getattr(node, field, None)
        if value is None or value == [] or field == "ctx":
            continue
        parts.append(f" {field}=")
        if isinstance(value, list):
            parts.append("[")
            for item in value:
                if not docstrings and _is_text(item):
                    continue
                if isinstance(item, ast.AST):
                    _write(item, parts, docstrings)
                else:  # None is the key of ** in a dict display; names of global statements
                    parts.append(f"{item!r},")
            parts.append("]")
        elif isinstance(value, ast.AST):
            _write(value, parts, docstrings)
        else:
            parts.append(repr(value))
    parts.append(")")


def _is_text(item: object) -> bool:
    """Whether ``item`` is a statement that is nothing but a string, or ``pass``."""
    if isinstance(item, ast.Pass):  # what is left of a body when its docstring goes
        return True
    return (
        isinstance(item, ast.Expr)
        and isinstance(item.value, ast.Constant)
        and isinstance(item.value.value, str)
    )


def _kept(key: str) -> str | None:
    try:
        text = (_folder() / key).read_text()
    except (OSError, UnicodeDecodeError):
        return None
    found, _, check = text.partition(" ")
    return found if check == _check(key, found) else None


def _keep(key: str, found: str) -> None:
    with contextlib.suppress(OSError):
        folder = _folder()
        handle, draft = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "w") as file:
            file.write(f"{found} {_check(key, found)}")
        os.replace(draft, folder / key)
        old = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime)[:-_MOST_KEPT]
        for path in old:
            path.unlink(missing_ok=True)


def _folder() -> Path:
    return private_folder(user_cache() / "fedcore" / "code")


def _check(key: str, found: str) -> str:
    """So that a damaged file is no digest."""
    return hashlib.sha256(f"{key} {found}".encode()).hexdigest()
