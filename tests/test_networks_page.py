"""docs/networks.md is what the tool makes, and every number that differs is explained."""

from __future__ import annotations

import dataclasses
import re
from decimal import Decimal

import pytest
from tools import make_networks_page as tool
from tools.network_rows import EXPLANATIONS, PACKAGES, PAPER, TABLES, paper_network, read_rows
from tools.table_1 import TABLE_1, described

import senet
from senet.networks.network import Network
from senet.networks.zoo import list_models, network_spec

pytestmark = pytest.mark.slow

PAGE = tool.PAGE.read_text(encoding="utf-8")


def rows_below(title: str) -> list[list[str]]:
    """Return the cells of the table below a heading, without its first two lines."""
    part = re.split(rf"^#+ {re.escape(title)}$", PAGE, flags=re.MULTILINE)[1]
    lines = [line for line in part.split("\n#")[0].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_page_is_the_one_the_tool_makes() -> None:
    assert tool.page() == PAGE, "run python -m tools.make_networks_page"


def test_every_network_is_on_it_with_all_it_costs() -> None:
    costs = {cells[0].strip("`"): cells[1:] for cells in rows_below("Cost of the networks")}
    work = {cells[0].strip("`"): cells[1:] for cells in rows_below("Operations by kind")}
    assert list(costs) == list(work) == list_models()
    for name in ("se_resnet50", "senet154", "inception_v3", "shakeeven29_2x4x64d"):
        cost = senet.cost(name)
        *numbers, megabytes = [float(cell.replace(",", "")) for cell in costs[name]]
        size = network_spec(name).input_size
        assert numbers == [size, cost.parameters, cost.multiply_adds, cost.activations]
        assert megabytes == pytest.approx(cost.bytes / 1e6, abs=0.05)
        kinds = (cost.convolution, cost.fully_connected, cost.pooling, cost.scaling, cost.addition)
        assert work[name] == [f"{each:,}" for each in kinds]


def test_the_page_has_every_number_the_paper_prints() -> None:
    for column, title in (("gflops", "GFLOPs"), ("params_m", "Parameters, in millions")):
        printed = [
            (row["table"], row[column])
            for row in read_rows("results.csv")
            if row["table"] in TABLES and row[column]
        ]
        shown = [(cells[0], cells[3]) for cells in rows_below(title)]
        assert shown == printed and len(shown) >= 20


def test_what_disagrees_is_explained_and_nothing_else() -> None:
    printed = list(tool.printed_numbers())
    others = list(tool.beside_others())
    disagreeing = {each.key for each in printed if not each.agrees()}
    disagreeing |= {each.key for each in others if any(each.differences.values())}
    assert disagreeing == set(EXPLANATIONS)
    assert len(printed) + len(others) == len({each.key for each in (*printed, *others)})
    assert all("\n" not in text and len(text) < 200 for text in EXPLANATIONS.values())


@pytest.mark.parametrize(
    ("text", "ours", "off", "verdict"),
    [
        ("3.86", 3_863_492_608, "0.35", "rounds to it: A"),
        ("3.86", 3_868_000_000, "0.8", "within the last digit: A"),
        ("3.87", 3_860_488_192, "0.95", "within the last digit: A"),
        ("3.86", 3_870_000_000, "1.0", "no"),
        ("11.30", 11_289_000_000, "1.1", "no"),
        ("0.140", 138_824_832, "1.2", "no"),
    ],
)
def test_agreement_is_counted_in_units_of_the_last_printed_digit(
    text: str, ours: int, off: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ("2", "a network", "SE", "gflops")
    monkeypatch.setitem(EXPLANATIONS, key, "because")
    printed = tool.Printed(key, text, network_spec("resnet8"), {"A": ours})
    assert printed.off_by("A").quantize(Decimal(off)) == Decimal(off)
    assert printed.agrees() == (verdict != "no")
    assert printed.verdict() == (verdict if verdict != "no" else "**no**: because")


def test_conventions_count_what_the_page_says() -> None:
    spec = network_spec("se_resnet50")
    counted = tool.count(spec, 224)
    assert counted.in_conventions("gflops") == {"A": 3_860_488_192, "B": 3_860_488_192 + 2 * 5_519_360}
    # docs/paper/complexity.csv: 53,120 running statistics.
    assert counted.in_conventions("params_m") == {"P": 28_088_024, "S": 28_088_024 + 53_120}


def test_table_1_is_that_of_the_paper() -> None:
    rows = rows_below("Table 1, stage by stage")
    assert len(rows) == sum(map(len, TABLE_1.values())) == 21
    assert all(cells[2] == cells[3] and cells[4] == "yes" for cells in rows)


def test_a_stage_that_is_not_table_1s_would_be_seen() -> None:
    spec = dataclasses.replace(network_spec("se_resnet50"), depths=(3, 4, 6, 2), stem_channels=32)
    assert spec.bottleneck is not None
    other = dataclasses.replace(spec, bottleneck=dataclasses.replace(spec.bottleneck, groups=2))
    network = tool.build_network(other)
    assert isinstance(network, Network)
    ours, printed = described(network), TABLE_1["se_resnet50"]
    assert {stage for stage in printed if ours[stage] != printed[stage]} == {
        *("conv1", "layer1", "layer2", "layer3", "layer4")
    }
    assert ours["layer4"] == "7×7: 1×1, 512; 3×3, 512, C=2; 1×1, 2048; fc [128, 2048]; ×2"


def test_table_8_names_what_senet_has_and_has_not() -> None:
    rows = [row for row in read_rows("results.csv") if row["table"] == "8"]
    have = [
        (row["model"], "224" if "crop=224" in row["other"] else "320") for row in rows if paper_network(row)
    ]
    shown = [(cells[0], cells[2]) for cells in rows_below("Table 8")]
    assert [model for model, _ in shown] == [model for model, _ in have]
    for (model, size), (_, crop) in zip(shown, have, strict=True):
        assert size == ("299" if model.startswith("Inception") else crop)
    (line,) = re.findall(r"senet does not have: (.*)\.", PAGE)
    missing = {row["model"] for row in rows if paper_network(row) is None}
    assert set(line.split(", ")) == missing
    assert {"ResNet-200", "Inception-v4", "DenseNet-264"} <= missing
    (senet_320,) = (cells for cells in rows_below("Table 8") if cells[0] == "SENet-154" and cells[2] == "320")
    # timm's legacy_senet154 at 320 pixels.
    assert senet_320[3:] == ["115,088,984", "42,212,171,776"]


def test_every_row_of_other_packages_is_beside_ours() -> None:
    given = {f"{row['package']}: {row['model']}": row for row in read_rows("complexity.csv")}
    assert {": ".join(key) for key in PACKAGES} == set(given)
    differing, equal = rows_below("Networks that differ"), rows_below("Networks that are equal")
    assert sorted(cells[0] for cells in (*differing, *equal)) == sorted(given)
    for cells in differing:
        assert set(cells[2:5]) - {"0"}, cells
        assert cells[5] in EXPLANATIONS.values()
    for cells in equal:
        row = given[cells[0]]
        assert cells[3:] == [f"{int(row[each]):,}" for each in ("params", "macs_native")]


def test_titles_name_what_is_changed() -> None:
    assert tool.title_of(network_spec("senet154")) == "`senet154`"
    spec = dataclasses.replace(PACKAGES["derived (own build)", "SE-ResNet-50 NoSqueeze"], num_classes=7)
    assert tool.title_of(spec) == "`se_resnet50` (num_classes=7, squeeze=none, bias=False)"


def test_the_rows_it_reads_are_in_the_repository() -> None:
    assert {path.name for path in PAPER.glob("*.csv")} == {"complexity.csv", "results.csv"}
