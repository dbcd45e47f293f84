"""One HTTP answer, for which no more than a stated time is waited, whatever the server does.

A socket's own time limit is for each piece: a server that sends a byte now and then keeps it from
ever being reached, in the headers, in TLS and in a redirection, too. So a second thread shuts the
connection down when time is up.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any, Final

from fedcore.errors import FedcoreError

_SCHEMES: Final = ("http", "https")


class Refused(FedcoreError):
    """An answer that is not waited for, or not followed; the text says why."""


class Watch:
    """Shuts the connections of one download down after ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._twins: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._shut)
        self._timer.daemon = True

    def __enter__(self) -> Watch:
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        for twin in self._twins:
            twin.close()

    @property
    def over(self) -> bool:
        """Whether time is up."""
        return time.monotonic() >= self._end

    def connected(self, *arguments: Any, **options: Any) -> socket.socket:
        """A connection that this watches over; as `socket.create_connection`."""
        connection = socket.create_connection(*arguments, **options)
        self._twins.append(connection.dup())  # TLS takes the socket itself over
        if self.over:
            self._shut()
        return connection

    def _shut(self) -> None:
        for twin in tuple(self._twins):
            with contextlib.suppress(OSError):
                twin.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def opening(address: str, timeout: float, watch: Watch) -> Iterator[http.client.HTTPResponse]:
    """The answer to GET ``address``; ``timeout`` is in seconds of silence.

    Raises Refused for a redirection that leaves http and https, or https, and where ``watch`` is
    over; OSError, HTTPException or ValueError for all else.
    """
    with watch:
        try:
            with _opener(watch).open(address, timeout=timeout) as answer:
                yield answer
                if watch.over:  # an end that the watch has made looks like the server's
                    raise OSError
        except (OSError, ValueError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it is the server's answer too, and holds the connection
            if watch.over:
                raise Refused(f"it took longer than {watch.seconds:g} s") from error
            raise


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Redirections to http and https, from https to https alone, whose bodies are not read."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in _SCHEMES or (req.type == "https" and scheme != "https"):
            raise Refused(f"it is redirected from {req.type} to {scheme or 'nowhere'}")
        fp.close()  # else all of it is read, of any size
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(watch: Watch) -> urllib.request.OpenerDirector:
    class Http(urllib.request.HTTPHandler):
        def http_open(self, req: Any) -> Any:
            return self.do_open(_watched(http.client.HTTPConnection, watch), req)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, req: Any) -> Any:
            return self.do_open(_watched(http.client.HTTPSConnection, watch), req)

    return urllib.request.build_opener(Http, Https, _Redirections)


def _watched(kind: type[http.client.HTTPConnection], watch: Watch) -> Any:
    def connection(host: str, **options: Any) -> http.client.HTTPConnection:
        made: Any = kind(host, **options)
        made._create_connection = watch.connected
        return made  # type: ignore[no-any-return]

    return connection
