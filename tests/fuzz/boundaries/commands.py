"""The command as a process: its streams, its environment, its arguments. A case takes seconds."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from tests.fuzz.mutate import ODD_NUMBERS, ODD_TEXTS

ROOT = Path(__file__).parents[3]
STATUSES = (0, 1, 2, 4)


def attempt(rng: random.Random, folder: Path) -> None:
    """Raises AssertionError for a traceback, another status, or a file outside ``folder``."""
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder), "XDG_CACHE_HOME": str(folder),
        "FEDCORE_NATIVE": "0",
    }  # fmt: skip
    for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR", "FEDCORE_DATA", "CC", "LANG", "TORCH_HOME"):
        if rng.random() < 0.2:
            environment[name] = rng.choice(("", "/nonexistent", "/dev/null", "C", "~"))
    words = rng.choice(
        (
            ["list", "presets"], ["list", _word(rng)], ["report", _word(rng)], [_word(rng)],
            ["compare", _word(rng), _word(rng)], ["--version"],
            ["report", ".", "--out", _word(rng)],
            ["tune", "krum", f"--seeds={_word(rng)}"], ["run", f"--rounds={_word(rng)}x"],
            ["run", f"--attack={_word(rng)}", "--malicious-fraction=2"],
        )
    )  # fmt: skip
    streams = rng.choice(("", "", ">/dev/full", ">&-", "2>&-", "2>/dev/full", "<&-", "| head -c 1"))
    script = f'exec 3>&1; "$@" {streams}; echo "status $?" >&3'
    if "|" in streams:
        script = f'"$@" {streams} >/dev/null; echo "status ${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", sys.executable, "-P", "-m", "fedcore", *words],
        cwd=folder, env=environment, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    status = int(done.stdout.rpartition(b"status ")[2])
    text = (done.stdout + done.stderr).decode(errors="replace")
    assert "Traceback" not in text, text[-2000:]
    assert status in STATUSES, f"status {status}: {text[-500:]}"
    left = [path for path in ("/nonexistent", "/.cache") if os.path.exists(path)]
    assert not left, left


def _word(rng: random.Random) -> str:
    word = rng.choice((*ODD_NUMBERS, *ODD_TEXTS, "x", "0.5"))
    return word.replace("\0", "0").encode("utf-8", "replace").decode() or "x"
