"""`flower-superlink` whose Control API asks for a key: ``python -m docs.flower.superlink KEY ...``.

Flower 1.41 leaves the Control API open to everybody who reaches its port, unless an OIDC service of
its commercial edition is there: TLS keeps a reader out, not a caller, as the CA's certificate is
public. Whoever calls it starts runs, which is code on the server and on each SuperNode, and
registers keys. The open edition has the hook (`ControlAuthnPlugin`) without a plugin for it. This
is one: calls must bear the key in the file KEY, of 32 random bytes in hexadecimal. What follows KEY
goes to flower-superlink as it is.
"""

from __future__ import annotations

import hmac
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flwr.common.constant import ACCESS_TOKEN_KEY
from flwr.supercore.auth.typing import AccountAuthCredentials, AccountAuthLoginDetails, AccountInfo
from flwr.superlink.auth_plugin import ControlAuthnPlugin, NoOpControlAuthnPlugin

_HOOK = "load_control_authn_plugin"
Metadata = Sequence[tuple[str, str | bytes]]


class KeyPlugin(ControlAuthnPlugin):  # type: ignore[misc]
    """Admits calls that bear ``key``; there is one account, and no way to log in but to have it."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def validate_tokens_in_metadata(self, metadata: Metadata) -> tuple[bool, AccountInfo | None]:
        token = dict(metadata).get(ACCESS_TOKEN_KEY, b"")
        given = token.encode(errors="replace") if isinstance(token, str) else token
        if not hmac.compare_digest(given, self._key):
            return False, None
        return NoOpControlAuthnPlugin().validate_tokens_in_metadata(())

    def get_login_details(self) -> AccountAuthLoginDetails | None:
        return None

    def get_auth_tokens(self, device_code: str) -> AccountAuthCredentials | None:
        return None

    def refresh_tokens(self, metadata: Metadata) -> tuple[Metadata | None, AccountInfo | None]:
        return None, None


def read_key(path: Path) -> str:
    """The key in the file ``path``. SystemExit where others may read it, or it is too short."""
    mode = path.stat().st_mode & 0o777
    if os.name == "posix" and mode & 0o077:
        raise SystemExit(f"{path} has mode {mode:o}: a key is for its owner alone, chmod 600")
    key = path.read_text(encoding="ascii").strip()
    if len(key) < 64:
        raise SystemExit(f"{path} must hold 32 random bytes in hexadecimal, got {len(key)} digits")
    return key


def main(arguments: Sequence[str]) -> None:
    """Run a SuperLink; ``arguments`` are the file of the key, and flower-superlink's."""
    plugin = KeyPlugin(read_key(Path(arguments[0])))
    command: Any = importlib.import_module("flwr.superlink.cli.flower_superlink")
    if not hasattr(command, _HOOK):  # another Flower: never open instead
        raise SystemExit(f"{command.__name__} has no {_HOOK}: this Flower asks for keys elsewhere")
    setattr(command, _HOOK, lambda: plugin)
    sys.argv = ["flower-superlink", *arguments[1:]]
    command.flower_superlink()


if __name__ == "__main__":
    main(sys.argv[1:])
