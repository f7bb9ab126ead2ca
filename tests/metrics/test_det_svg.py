"""The picture of a trade-off: well-formed, its curve where the rates are, a normal one straight."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from edge_lupi.metrics.det_svg import LEFT, SIDE, TOP, det_svg
from edge_lupi.metrics.verification import det


def curve(svg: str) -> np.ndarray:
    """Points [K, 2] of the first curve, as shares of the side, both rates rising with their axis."""
    line = ElementTree.fromstring(svg).find(".//{*}polyline")
    assert line is not None
    places = np.array([[float(x) for x in point.split(",")] for point in line.get("points", "").split()])
    return np.stack([(places[:, 0] - LEFT) / SIDE, 1 - (places[:, 1] - TOP) / SIDE], 1)


def test_normal_scores_give_a_straight_line() -> None:
    draw = np.random.default_rng(0)
    scores = np.concatenate([draw.normal(0, 1, 20_000), draw.normal(2, 1, 20_000)])
    points = curve(det_svg("two normals", [("one", det(scores, np.arange(40_000) >= 20_000))]))
    inside = points[((points > 0.2) & (points < 0.9)).all(1)]
    slope, offset = np.polyfit(inside[:, 0], inside[:, 1], 1)
    assert slope == pytest.approx(-1, abs=0.05)
    np.testing.assert_allclose(inside[:, 1], slope * inside[:, 0] + offset, atol=0.03)


def test_names_are_not_markup() -> None:
    found = det([0.0, 0.2, 0.1, 1.0], [0, 0, 1, 1])
    picture = ElementTree.fromstring(det_svg("<script>", [("a & b", found)], 0.01))
    assert next(text.text for text in picture.findall(".//{*}text")) == "<script>"
    assert "a & b" in [text.text for text in picture.findall(".//{*}text")]


def test_a_picture_without_a_curve_is_one_too() -> None:
    assert ElementTree.fromstring(det_svg("nothing", [])).find(".//{*}polyline") is None
