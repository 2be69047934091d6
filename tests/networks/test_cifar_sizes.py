"""Parameters, multiply-adds and statistics of the CIFAR networks, against the rows of docs/paper.

Nobody here counted them: most are pytorchcv's, the others were added up from the articles by another program.
"""

import csv
import dataclasses
from pathlib import Path

import pytest
import torch

from senet.blocks import SEConfig
from senet.networks import network_spec
from senet.networks.build import build_network

with (Path(__file__).parents[2] / "docs" / "paper" / "complexity.csv").open() as file:
    ROWS = {row["model"]: row for row in csv.DictReader(file) if row["native_size"] == "32"}

# pytorchcv's SE networks are no twins of its plain ones, see `PreResNetSpec`.
STEM = {"norm": "stem"}
BRANCHES = {"se": SEConfig(min_hidden=1, placement="branches")}
NETWORKS = {
    "resnet110": ("resnet110", {}),
    "seresnet110": ("se_resnet110", {}),
    "resnet164bn": ("resnet164", {}),
    "seresnet164bn": ("se_resnet164", {}),
    "preresnet110": ("preresnet110", {}),
    "sepreresnet110": ("se_preresnet110", STEM),
    "preresnet164bn": ("preresnet164", {}),
    "sepreresnet164bn": ("se_preresnet164", STEM),
    "wrn16_10": ("wrn16_8", {"outputs": (160, 320, 640)}),
    "shakeshakeresnet26_2x32d": ("shakeshake26_2x96d", {"outputs": (32, 64, 128)}),
    "WRN-16-8": ("wrn16_8", {}),
    "SE-WRN-16-8": ("se_wrn16_8", {}),
    "Shake-Shake 26 2x96d": ("shakeshake26_2x96d", {}),
    "SE Shake-Shake 26 2x96d (one SE on the summed branches)": ("se_shakeshake26_2x96d", {}),
    "SE Shake-Shake 26 2x96d (one SE per branch)": ("shakeshake26_2x96d", BRANCHES),
    "Shake-Even 29 2x4x64d": ("shakeeven29_2x4x64d", {}),
    "SE Shake-Even 29 2x4x64d (one SE on the summed branches)": ("se_shakeeven29_2x4x64d", {}),
    "SE Shake-Even 29 2x4x64d (one SE per branch)": ("shakeeven29_2x4x64d", BRANCHES),
}


def named(row):
    """Return the network's name, and the classes that stand behind it in two spellings or not at all."""
    name, _, classes = row.replace(" CIFAR-", "_cifar").partition("_cifar")
    return name, {"num_classes": int(classes)} if classes else {}


def cost_of(name, **changes):
    with torch.device("meta"):
        model = build_network(dataclasses.replace(network_spec(name), **changes))
    statistics = sum(each.numel() for key, each in model.named_buffers() if "running" in key)
    cost, output = model.cost((3, 32, 32))
    assert output == (model.spec.num_classes,)
    return cost.parameters, cost.multiply_adds, statistics


@pytest.mark.parametrize("row", ROWS)
def test_sizes_are_those_of_the_table(row):
    network, classes = named(row)
    name, changes = NETWORKS[network]
    expected = tuple(int(ROWS[row][column]) for column in ("params", "macs_native", "bn_running_stats"))
    assert cost_of(name, **classes, **changes) == expected


def test_the_table_has_every_network():
    assert {named(row)[0] for row in ROWS} == set(NETWORKS)
    assert {named(row)[1].get("num_classes") for row in ROWS} == {10, 100, None}


def test_classes_by_default_are_those_of_the_papers_data():
    names = {"resnet164", "preresnet110", "preresnet164", "wrn16_8", "shakeshake26_2x96d"}
    assert {network_spec(name).num_classes for name in names} == {10}
    assert network_spec("shakeeven29_2x4x64d").num_classes == 100
    assert {network_spec(name).input_size for name in (*names, "shakeeven29_2x4x64d")} == {32}


@pytest.mark.parametrize(
    ("name", "post_activation", "stem", "end"),
    # The widths of the BatchNorm that pytorchcv's SE networks have and lack.
    [("preresnet110", "resnet110", 16, 64), ("preresnet164", "resnet164", 16, 256)],
)
def test_the_twin_of_a_pre_activation_network_adds_what_se_has_and_nothing_else(
    name, post_activation, stem, end
):
    plain, twin = cost_of(name), cost_of(f"se_{name}")
    pytorchcvs = cost_of(f"se_{name}", norm="stem")
    se = cost_of(f"se_{post_activation}")[0] - cost_of(post_activation)[0]
    assert twin[0] - plain[0] == se
    assert twin[2] == plain[2]
    assert twin[0] - pytorchcvs[0] == twin[2] - pytorchcvs[2] == 2 * (end - stem)
