"""docs/training.md is what the tool makes of recipes and benchmarks, and shows what was promised."""

from __future__ import annotations

import re
import statistics

import pytest
from benchmarks.bench_loop import BAREST, OURS
from tools import cluster_estimate
from tools import make_training_page as tool

from senet.networks.zoo import create_network
from senet.training.recipe_files import list_recipes

PAGE = tool.PAGE.read_text(encoding="utf-8")


def test_the_page_is_the_one_the_tool_makes() -> None:
    assert tool.page() == PAGE, "run python -m tools.make_training_page"
    assert not re.search(r"\{[a-z_]+\}", PAGE), "a part was not filled in"
    assert not re.search(r"(^|[\s`(])/(work|tmp|home|root|usr)\b", PAGE)
    assert all(f"`{name}`" in PAGE or f"| {name} |" in PAGE for name in list_recipes())


@pytest.mark.parametrize("processes", ["1", "2"])
def test_twenty_kills_lost_nothing(processes: str) -> None:
    rows = [row for row in tool.read("chaos") if row["processes"] == processes]
    assert len(rows) >= 20 and {row["lost"] for row in rows} == {"nothing"}
    assert len({row["moment"] for row in rows}) >= 4 and len({row["victim"] for row in rows}) >= 2
    assert any(row["moment"] == "writing a checkpoint" for row in rows)


def test_the_loop_adds_no_more_than_three_percent() -> None:
    (row,) = [
        each for each in tool.read("loop") if each["benchmark"] == "loop, resnet20" and each["name"] == OURS
    ]
    assert (row["ratio_to"], row["batch"]) == (BAREST, "128")
    assert float(row["ratio_p50"]) <= 1.03


def test_photographs_of_a_megapixel_and_more_are_together_read_1_7_times_as_fast() -> None:
    rows = [row for row in tool.read("data_path") if row["name"].startswith("Pillow, all decoded")]
    ratios = {row["shape"]: float(row["ratio_p50"]) for row in rows if row["ratio_to"] == tool.SENET}
    assert len(ratios) == 3
    large = [ratio for shape, ratio in ratios.items() if "MP" in shape]
    # The largest ones alone fall short of it by a hundredth: most of their time is undoing Huffman's code.
    assert len(large) == 2 and min(large) > 1.6 and statistics.geometric_mean(large) >= 1.7
    assert "kornia" in {row["name"] for row in tool.read("data_path")}


def test_the_estimate_counts_the_network_as_it_is() -> None:
    network = create_network("se_resnet50", num_classes=1000)
    gradients = 4 * sum(each.numel() for each in network.parameters())
    # Eight nodes, a ring: each part is sent seven times to be summed, and seven times to be known.
    assert cluster_estimate.all_reduce_seconds(1.0) == pytest.approx(2 * 7 / 8 * gradients)
    assert f"{gradients / 1e6:.0f} MB in fp32" in PAGE
    few, many = (
        [float(row[4].replace(",", "")) for row in cluster_estimate.estimate_rows((batch,), 500.0)]
        for batch in (1024, 16384)
    )
    assert few < many and all(first <= second for first, second in zip(few, many, strict=True))
    assert few == sorted(few), "a faster network is never slower"
