"""Histogram and curve: every request is in them, and the curve is a picture that a browser can show."""

from xml.etree import ElementTree as ET

import pytest

from inlet.bench.plot import curve, histogram


@pytest.mark.parametrize(
    "latencies", [[0.004], [0.004] * 5, [0.001, 0.1], [number / 1000 for number in range(1, 501)]]
)
def test_a_histogram_has_every_request_once(latencies: list[float]) -> None:
    lines = histogram(latencies, 20)
    assert sum(int(line.split()[-1]) for line in lines) == len(latencies)
    assert f"≤ {latencies[-1] * 1000:.2f} ms" in lines[-1]
    assert max(line.count("█") for line in lines) == 20, "the longest bar has the whole width"


def test_a_bar_is_as_long_as_its_share() -> None:
    lines = histogram([0.001] * 16 + [0.1] * 2, 4)
    assert lines[0].endswith("  ████ 16")
    assert lines[-1].endswith("  ▌ 2")


@pytest.mark.parametrize("count", [1, 2, 100, 2000])
def test_the_curve_rises_inside_the_picture_and_ends_at_the_slowest(count: int) -> None:
    latencies = [0.001 * (1 + number) for number in range(count)]
    picture = ET.fromstring(curve(latencies, "a < b & c"))
    space = "{http://www.w3.org/2000/svg}"
    texts = [text.text or "" for text in picture.iter(f"{space}text")]
    assert "a < b & c" in texts
    assert ("99 %" in texts) == (count >= 100)
    line = picture.find(f"{space}polyline")
    assert line is not None
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert points == sorted(points, key=lambda point: (point[0], -point[1]))
    assert all(0 <= x <= 720 and 0 <= y <= 400 for x, y in points)
    assert len(points) <= 600
