"""docs/conversions.md has every pair, within bounds; the tool that makes it sees a wrong tensor."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tools import conversion_matrix as tool

from senet.networks.network import Network
from tests.weights.pairs import PAIRS, Pair, loaded, pair_of

PAGE = tool.PAGE.read_text(encoding="utf-8")
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")][2:]
DIFFERENCES = [(float(row[3]), float(row[4]), float(row[5])) for row in ROWS]
ACCURATE = (1e-6, 1e-15, 1e-13)


def without_versions(page: str) -> list[str]:
    return [line for line in page.splitlines() if not line.startswith("With torch ")]


def test_the_page_is_the_one_the_tool_makes_of_its_figures() -> None:
    made = tool.page(dict(zip(PAIRS, DIFFERENCES, strict=True)))
    assert without_versions(PAGE) == without_versions(made), "run python -m tools.conversion_matrix"
    assert len(without_versions(PAGE)) == len(PAGE.splitlines()) - 1


def test_every_difference_is_within_its_bound() -> None:
    assert tool.BOUNDS == (1e-5, 1e-10, 1e-10)
    assert not any(tool.too_large(differences) for differences in DIFFERENCES)


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("value", [1.1e-5, float("nan"), float("inf")])
def test_one_large_difference_is_too_large(place: int, value: float) -> None:
    assert not tool.too_large(ACCURATE)
    assert tool.too_large((*ACCURATE[:place], value, *ACCURATE[place + 1 :]))


def test_a_wrong_tensor_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = pair_of("pytorchcv", "seresnet20_cifar10")
    assert not tool.too_large(tool.differences_of(pair, tmp_path))

    def swapped(theirs: torch.nn.Module, pair: Pair, folder: Path) -> Network:
        ours = loaded(theirs, pair, folder)
        first, second = (ours.get_submodule(f"layer2.1.bn{number}") for number in (1, 2))
        ours.set_submodule("layer2.1.bn1", second)
        ours.set_submodule("layer2.1.bn2", first)
        return ours

    monkeypatch.setattr(tool, "loaded", swapped)
    differences = tool.differences_of(pair, tmp_path)
    assert all(each > bound for each, bound in zip(differences, tool.BOUNDS, strict=True))
