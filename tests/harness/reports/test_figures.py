"""What the figures draw, read back from matplotlib."""

from __future__ import annotations

import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib")

from fedcore.harness.reports import figures


def test_a_proportion_is_the_least_squares_line_through_the_origin(monkeypatch) -> None:
    """Through (1, 2), (2, 4), (3, 7): (2 + 8 + 21) / (1 + 4 + 9) = 31/14."""
    drawn = []
    monkeypatch.setattr(figures, "png", lambda figure: drawn.append(figure) or b"png")
    assert figures.proportion_figure({1: 2, 2: 4, 3: 7}, "clients", "ms") == b"png"
    (axes,) = drawn[0].axes
    dots, line = axes.lines
    assert dots.get_xydata().tolist() == [[1, 2], [2, 4], [3, 7]]
    assert line.get_xydata().tolist() == [[0, 0], [3, pytest.approx(93 / 14)]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("clients", "ms")
    assert axes.get_xlim()[0] == axes.get_ylim()[0] == 0


def test_equal_points_give_equal_bytes() -> None:
    points = {25: 1.0, 100: 4.2}
    image = figures.proportion_figure(points, "x", "y")
    assert image.startswith(b"\x89PNG")
    assert image == figures.proportion_figure(points, "x", "y")
    assert image != figures.proportion_figure({25: 1.0, 100: 4.0}, "x", "y")
