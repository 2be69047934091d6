"""docs/insertion.md is what the tool makes of the rows of the benchmarks, and says what they say."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
import torch
from benchmarks.bench_fine_tune import ARMS, IDENTITY, PLAIN
from benchmarks.bench_insertion import NETWORKS, row
from scipy import stats
from tools import make_insertion_page as tool

PAGE = tool.PAGE.read_text(encoding="utf-8")


def test_the_page_is_the_one_the_tool_makes() -> None:
    assert tool.page() == PAGE, "run python -m tools.make_insertion_page"
    assert "{" not in PAGE
    assert not re.search(r"(^|[\s`(])/(work|tmp|home|root|usr)\b", PAGE)


def test_the_curve_is_the_one_the_tool_draws() -> None:
    drawn, kept = (
        ET.fromstring(text) for text in (tool.draw(tool.read("fine_tune")), tool.CURVE.read_text())
    )
    # Fonts and versions of matplotlib move letters; the lines have as many points.
    paths = [sum(each.tag.endswith("path") for each in tree.iter()) for tree in (drawn, kept)]
    assert paths[0] == paths[1] > 20


def test_all_networks_are_in_the_table() -> None:
    rows = tool.read("insertion")
    assert {(each["package"], each["network"]) for each in rows} == {
        (package, name) for package, networks in NETWORKS.items() for name in networks
    }
    assert len(rows) >= 25 and len({each["package"] for each in rows}) == 3
    for each in rows:
        assert float(each["output_change"]) <= 1e-6, each
        assert int(each["sites"]) > 0 or int(each["had_se"]) > 0, each


@pytest.mark.parametrize(
    ("package", "name"), [("torchvision", "mobilenet_v2"), ("pytorchcv", "resnet20_cifar10")]
)
def test_rows_are_what_insertion_does(package: str, name: str) -> None:
    kept = next(
        each for each in tool.read("insertion") if (each["package"], each["network"]) == (package, name)
    )
    torch.manual_seed(0)
    now = row(package, name, NETWORKS[package][name], 1)
    for field in ("sites", "had_se", "skipped", "added_parameters"):
        assert int(kept[field]) == getattr(now, field)
    assert now.output_change == float(kept["output_change"]) == 0


def test_the_interval_is_scipys() -> None:
    rows = tool.read("fine_tune")
    last = max(int(each["epoch"]) for each in rows)
    ends = {
        arm: [float(e["top1_error"]) for e in rows if e["arm"] == arm and int(e["epoch"]) == last]
        for arm in ARMS
    }
    differences = [a - b for a, b in zip(ends[IDENTITY], ends[PLAIN], strict=True)]
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    line = next(line for line in PAGE.splitlines() if line.startswith(f"| {IDENTITY} "))
    assert f"({low:+.2f} to {high:+.2f})".replace("-", "−") in line
    before = [cell.strip() for cell in line.split("|")][2]
    plain = next(line for line in PAGE.splitlines() if line.startswith(f"| {PLAIN} "))
    assert re.search(rf"\| {re.escape(before)} \|", plain), "identity starts with the plain network's error"
