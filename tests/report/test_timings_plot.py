from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib.image
import pytest

from senet.errors import SenetError
from senet.report.timings_plot import draw, write_plot
from tests.report.timings import TIMINGS, timing


def texts_of(path: Path) -> list[str]:
    root = ET.parse(path).getroot()
    return ["".join(each.itertext()).strip() for each in root.iter("{http://www.w3.org/2000/svg}text")]


def test_every_bar_has_its_name_time_and_ratio(tmp_path: Path) -> None:
    write_plot(TIMINGS, tmp_path / "bars.svg", "A title")
    texts = texts_of(tmp_path / "bars.svg")
    for expected in (
        "A title",
        "Tail on maps of 256×56×56, forward and backward",
        "Inference, 1 image",
        "SE",
        "senet se_x",
        "4.00 ms,  1.00 × plain",
        "70.5 ms,  1.07 × senet x",
        "1.60 ms",
    ):
        assert expected in texts, expected
    assert "torch.compile" not in texts, "it did not run"


def test_bars_are_as_long_as_the_medians_and_lines_as_the_spread() -> None:
    figure = draw(TIMINGS[:4], "title")
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [4.0, 4.0, 1.6]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["SE", "plain", "copy"]
    heights = [bar.get_y() for bar in axes.patches]
    assert heights == sorted(heights, reverse=True), "the first is on top"
    assert [list(line.get_xdata()) for line in axes.lines] == [
        *([pytest.approx(3.6), pytest.approx(4.8)],) * 2,
        [pytest.approx(1.44), pytest.approx(1.92)],
    ]
    assert axes.get_xlim()[0] == 0


def test_the_same_timings_make_the_same_file(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        write_plot(TIMINGS, tmp_path / name, "title")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_png_is_a_picture(tmp_path: Path) -> None:
    write_plot(TIMINGS, tmp_path / "bars.PNG", "title")
    assert (tmp_path / "bars.PNG").read_bytes().startswith(b"\x89PNG")
    picture = matplotlib.image.imread(tmp_path / "bars.PNG", format="png")
    assert picture.shape[1] > 1000 and picture[0, 0, :3].tolist() == [1, 1, 1]


def test_nothing_measured_is_an_empty_chart(tmp_path: Path) -> None:
    write_plot([timing("x", None)], tmp_path / "bars.svg", "title")
    assert "title" in texts_of(tmp_path / "bars.svg")


@pytest.mark.parametrize("name", ["bars.pdf", "bars", "bars.svgz"])
def test_other_formats_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SenetError, match=r"ends in \.svg or \.png"):
        write_plot(TIMINGS, tmp_path / name, "title")
    assert not list(tmp_path.iterdir())
