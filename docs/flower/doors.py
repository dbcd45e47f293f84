"""What a SuperLink answers to somebody who has the CA's certificate and nothing else.

``python -m docs.flower.doors`` starts the one of the demonstration, calls every route that it has
with an empty request, and prints what was answered; 0 if no door is open but the known ones.
"""

from __future__ import annotations

import http.client
import json
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path

from docs.flower.deployment import Deployment

#: Routes that need no key: that the service lives, which routes it has, and how to log in, to which
#: this one answers nothing.
KNOWN = {
    "/openapi.json",
    "/health",
    "/v1/control/get-login-details",
    "/v1/control/get-auth-tokens",
    "/v1/control/refresh-auth-tokens",
}
_SHUT = (401, 403)


def answers(port: int, authority: Path) -> dict[str, int]:
    """The HTTP status of each route of the SuperLink on ``port``, called without any key."""
    context = ssl.create_default_context(cafile=str(authority))
    status, content = _call(port, context, "GET", "/openapi.json")
    found = {"/openapi.json": status}
    for path, methods in json.loads(content)["paths"].items():
        for method in methods:
            found[path] = _call(port, context, method.upper(), path)[0]
    return found


def open_doors(found: Mapping[str, int]) -> dict[str, int]:
    """The routes of ``found`` that do more than ask for a key, but for the `KNOWN` ones."""
    return {path: code for path, code in found.items() if code not in _SHUT and path not in KNOWN}


def _call(port: int, context: ssl.SSLContext, method: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    try:
        headers = {"Content-Type": "application/protobuf"}
        connection.request(method, path, b"" if method == "POST" else None, headers)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def main() -> int:
    """Print each route and its status; 0 if none is open that is not known."""
    with (
        tempfile.TemporaryDirectory() as temporary,
        Deployment(Path(temporary) / "deployment", 1) as deployment,
    ):
        found = answers(deployment.port, deployment.folder / "ca.crt")
    for path, code in sorted(found.items()):
        mark = "shut" if code in _SHUT else "known" if path in KNOWN else "OPEN"
        print(f"{mark:<6}{code}  {path}")
    odd = open_doors(found)
    print(f"{len(found)} routes, {sum(c in _SHUT for c in found.values())} shut, {len(odd)} open")
    return int(bool(odd))


if __name__ == "__main__":
    raise SystemExit(main())
