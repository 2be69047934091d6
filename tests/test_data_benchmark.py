"""The benchmark of the data path compares the same crops and says what is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks import bench_data, data_peers

from tests.data.pictures import encoded, noise, photograph_like
from tests.smoke import pairs, smoke

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the tests that follow in this process their cores."""
    monkeypatch.setattr(bench_data, "stay_on_one_core", lambda: None)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number, (width, height) in enumerate([(1200, 900), (900, 1200)]):
        (folder / f"{number}.jpg").write_bytes(encoded(photograph_like(width, height), "JPEG", quality=90))
    (folder / "too small.jpg").write_bytes(encoded(photograph_like(300, 200), "JPEG"))
    (folder / "grey.jpeg").write_bytes(encoded(noise(1100, 1000, channels=1), "JPEG"))
    return folder


def test_all_that_is_installed_is_compared_with_pillow(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    rows = smoke(bench_data, tmp_path / "rows.csv", str(photographs))
    assert [*dict.fromkeys(row.shape for row in rows)] == ["1 to 5 MP", "500x375"]
    names = {row.name for row in rows}
    assert names == set(bench_data.PEERS)
    here = {row.name for row in rows if row.milliseconds is not None}
    assert {bench_data.SENET, bench_data.PILLOW, "torchvision v2"} <= here
    compared = {(name, bench_data.PILLOW) for name in here - {bench_data.PILLOW}}
    assert pairs(rows) == compared | {(bench_data.PILLOW, bench_data.SENET)}
    (why,) = {row.note for row in rows if row.name == "simplejpeg + Pillow"}
    assert why.startswith("cannot be imported: ")
    note = next(row.note for row in rows if row.name == bench_data.SENET)
    assert note.startswith("2 photographs of 1.1 to 1.1 MP from photographs; ")
    assert "4 JPEG files, 2 of them left out" in capsys.readouterr().out


def test_peers_show_the_same_crop(photographs: Path) -> None:
    ready, _ = bench_data.available(bench_data.PEERS)
    (both, small) = bench_data.sets_of(sorted(photographs.glob("[01].jpg")), 2)
    for content, crops in zip([*both.contents, *small.contents], [*both.crops, *small.crops], strict=True):
        assert {crop.flip for crop in crops} == {True, False}
        for crop in crops[:4]:
            whole = ready[bench_data.PILLOW](content, crop).astype(int)
            for name, run in ready.items():
                assert np.abs(run(content, crop) - whole).mean() < 5, name


def test_what_shows_something_else_is_not_compared(photographs: Path) -> None:
    (both, _) = bench_data.sets_of(sorted(photographs.glob("[01].jpg")), 1)

    def inverted(content: bytes, crop: data_peers.Crop) -> data_peers.Pixels:
        return 255 - data_peers.pillow_path()(content, crop)

    with pytest.raises(SystemExit, match="nothing to compare"):
        bench_data.difference(inverted, data_peers.pillow_path(), both)


def test_without_photographs_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="No JPEG photograph in RGB of 1,000,000 pixels or more"):
        smoke(bench_data, tmp_path / "rows.csv", str(tmp_path))
