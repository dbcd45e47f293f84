"""Work in parts on several threads."""

from __future__ import annotations

import threading

import pytest

from fedcore.native.threads import in_threads


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_part_is_worked_on_once_and_a_free_thread_takes_the_next(threads: int) -> None:
    done: list[tuple[int, int]] = []
    held = threading.Event()

    def work(thread: int, part: int) -> None:
        if part == 0 and threads > 1:
            assert held.wait(60)  # whoever has the first part is slow: others do the rest
        done.append((thread, part))
        if len(done) == 3:
            held.set()

    in_threads(work, range(4), threads)
    assert sorted(part for _, part in done) == [0, 1, 2, 3]
    slow = next(thread for thread, part in done if part == 0)
    assert threads == 1 or [part for thread, part in done if thread == slow] == [0]
    assert {thread for thread, _ in done} <= set(range(threads))


def test_without_parts_nothing_is_done() -> None:
    in_threads(lambda thread, part: pytest.fail("there is no part"), (), 2)
