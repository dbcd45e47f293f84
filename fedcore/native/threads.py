"""Work in parts on several threads, for functions that release Python's lock."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable


def in_threads(work: Callable[[int, int], None], parts: Iterable[int], threads: int) -> None:
    """``work`` (thread, part) for each of ``parts`` on ``threads`` threads, numbered from 0.

    A thread that is done takes the next part: cores that others use, too, are not equally fast.
    ``work`` must not raise: in a thread nobody would hear of it.
    """
    left = deque(parts)

    def labour(thread: int) -> None:
        while True:
            try:
                part = left.popleft()
            except IndexError:  # rather than asked before: another thread may take the last one
                return
            work(thread, part)

    others = [threading.Thread(target=labour, args=(thread,)) for thread in range(1, threads)]
    for other in others:
        other.start()
    labour(0)
    for other in others:
        other.join()
