"""Make docs/networks.md, what every network costs: ``python -m tools.make_networks_page``.

Nothing runs and nothing is random: the page is made from the specs and from ``docs/paper/*.csv``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from functools import cache
from pathlib import Path

import torch
from torch import nn

from senet.blocks.cost import Cost
from senet.networks.build import build_network
from senet.networks.network import Network
from senet.networks.specs import NetworkSpec
from senet.networks.zoo import list_models, network_spec
from tools.network_rows import EXPLANATIONS, PACKAGES, PAPER, TABLES, Key, paper_network, read_rows
from tools.table_1 import table_1_rows

PAGE = PAPER.parent / "networks.md"
TEXT = Path(__file__).with_name("networks_page.md")
A, B = "A", "B"
P, S = "P", "S"


@dataclass(frozen=True)
class Counted:
    """What one network costs, and the numbers in its BatchNorm statistics, which nobody trains."""

    cost: Cost
    statistics: int

    def in_conventions(self, column: str) -> dict[str, int]:
        """Return the number a column of the paper states, under each convention the page names."""
        cost = self.cost
        if column == "gflops":
            return {A: cost.multiply_adds, B: cost.multiply_adds + cost.scaling + cost.addition}
        return {P: cost.parameters, S: cost.parameters + self.statistics}


@cache
def count(spec: NetworkSpec, side: int) -> Counted:
    """Count ``spec`` for an image of ``side`` pixels."""
    network = _built(spec)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    statistics = sum(2 * norm.num_features for norm in norms)
    return Counted(network.cost((spec.in_channels, side, side))[0], statistics)


@cache
def _built(spec: NetworkSpec) -> Network:
    with torch.device("meta"):
        return build_network(spec)


def title_of(spec: NetworkSpec) -> str:
    """Return a network's name and what is changed in it: ``se_resnet50 (reduction=8)``."""
    name = spec.name if spec.se is None else spec.se_name
    known = network_spec(name)
    changed = [f"{f.name}={getattr(spec, f.name)}" for f in _different(spec, known) if f.name != "se"]
    if spec.se is not None and known.se is not None:
        changed += [f"{f.name}={getattr(spec.se, f.name)}" for f in _different(spec.se, known.se)]
    return f"`{name}`" + (f" ({', '.join(changed)})" if changed else "")


def _different(one: object, other: object) -> list:
    return [each for each in fields(one) if getattr(one, each.name) != getattr(other, each.name)]


@dataclass(frozen=True)
class Printed:
    """One number of the paper beside ours.

    Attributes:
        key: table, model, variant and column: the key of its explanation.
        text: the number as it is printed, in 10^9 operations or 10^6 parameters.
        ours: under each convention.
    """

    key: Key
    text: str
    spec: NetworkSpec
    ours: dict[str, int]

    def off_by(self, convention: str) -> Decimal:
        """Return how far our number is from the printed one, in units of its last digit."""
        printed = Decimal(self.text)
        scale = Decimal(10**9 if self.key[-1] == "gflops" else 10**6)
        return abs(self.ours[convention] / scale - printed).scaleb(-printed.as_tuple().exponent)

    def verdict(self) -> str:
        """Say under which conventions both agree, the closer degree first."""
        for words, limit in (("rounds to it", Decimal("0.5")), ("within the last digit", Decimal(1))):
            agreeing = [each for each in self.ours if self.off_by(each) < limit]
            if agreeing:
                return f"{words}: {', '.join(agreeing)}"
        return f"**no**: {EXPLANATIONS[self.key]}"

    def agrees(self) -> bool:
        """Tell whether both agree under any convention."""
        return any(self.off_by(each) < 1 for each in self.ours)


def printed_numbers() -> Iterator[Printed]:
    """Yield every GFLOPs and every number of parameters that the paper's tables print."""
    for row in read_rows("results.csv"):
        for column in ("gflops", "params_m"):
            if row["table"] in TABLES and row[column]:
                spec = paper_network(row)
                assert spec is not None, f"senet has no {row['model']}"
                ours = count(spec, spec.input_size).in_conventions(column)
                yield Printed((row["table"], row["model"], row["variant"], column), row[column], spec, ours)


@dataclass(frozen=True)
class Beside:
    """A network of another package beside ours: how much larger theirs is."""

    key: Key
    spec: NetworkSpec
    side: int
    parameters: int
    differences: dict[str, int]


def beside_others() -> Iterator[Beside]:
    """Yield every row of complexity.csv."""
    for row in read_rows("complexity.csv"):
        key, side = (row["package"], row["model"]), int(row["native_size"])
        spec = PACKAGES[key]
        own = count(spec, side)
        differences = {
            "parameters": int(row["params"]) - own.cost.parameters,
            "multiply-adds": int(row["macs_native"]) - own.cost.multiply_adds,
            "statistics": int(row["bn_running_stats"]) - own.statistics,
        }
        if row["macs_224"]:
            differences["multiply-adds at 224"] = int(row["macs_224"]) - count(spec, 224).cost.multiply_adds
        yield Beside(key, spec, side, int(row["params"]), differences)


def table(titles: Sequence[str], rows: Iterable[Sequence[object]], numbers_from: int, text: int = 0) -> str:
    """Return a Markdown table: columns from ``numbers_from`` on, but the last ``text``, to the right."""
    numbers = range(numbers_from, len(titles) - text)
    rule = ["---:" if index in numbers else "---" for index in range(len(titles))]
    cells = [[f"{each:,}" if isinstance(each, int) else str(each) for each in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [list(titles), rule, *cells])


def costs_table() -> str:
    """Return what every registered network costs at the size it was designed for."""
    rows = []
    for name, c in _costs():
        size = network_spec(name).input_size
        rows.append(
            (f"`{name}`", size, c.parameters, c.multiply_adds, c.activations, f"{c.bytes / 1e6:,.1f}")
        )
    return table(("network", "pixels", "parameters", "multiply-adds", "activations", "MB"), rows, 1)


def work_table() -> str:
    """Return the kinds of work of every registered network."""
    rows = [
        (f"`{name}`", c.convolution, c.fully_connected, c.pooling, c.scaling, c.addition)
        for name, c in _costs()
    ]
    return table(("network", "convolution", "fully connected", "pooling", "scaling", "addition"), rows, 1)


def _costs() -> Iterator[tuple[str, Cost]]:
    for name in list_models():
        spec = network_spec(name)
        yield name, count(spec, spec.input_size).cost


def printed_table(column: str) -> str:
    """Return the paper's GFLOPs, or its millions of parameters, beside ours."""
    digits, scale = (4, 1e9) if column == "gflops" else (3, 1e6)
    rows = [
        (
            each.key[0],
            f"{each.key[1]}, {each.key[2].removeprefix('ablation: ')}",
            title_of(each.spec),
            each.text,
            *(f"{value / scale:.{digits}f}" for value in each.ours.values()),
            each.verdict(),
        )
        for each in printed_numbers()
        if each.key[-1] == column
    ]
    first, second = (A, B) if column == "gflops" else (P, S)
    return table(("Table", "row", "senet", "printed", f"{first}", f"{second}", "agrees"), rows, 7)


def table_8() -> str:
    """Return our counts for Table 8, which prints errors only, and name what senet has not."""
    rows, missing = [], []
    for row in read_rows("results.csv"):
        if row["table"] != "8":
            continue
        spec = paper_network(row)
        if spec is None:
            missing.append(row["model"])
            continue
        side = (
            224 if "crop=224" in row["other"] else max(320 if spec.input_size == 224 else 0, spec.input_size)
        )
        cost = count(spec, side).cost
        rows.append((row["model"], title_of(spec), side, cost.parameters, cost.multiply_adds))
    names = ", ".join(dict.fromkeys(missing))
    return table(("row", "senet", "pixels", "parameters", "multiply-adds"), rows, 2) + (
        f"\n\nNetworks of Table 8 that senet does not have: {names}."
    )


def differing_table() -> str:
    """Return the networks of other packages that are not equal to ours, and why."""
    rows = []
    for each in beside_others():
        if any(each.differences.values()):
            d = each.differences
            shown = (d["parameters"], d["multiply-adds"], d["statistics"])
            rows.append((": ".join(each.key), title_of(each.spec), *shown, EXPLANATIONS[each.key]))
    return table(("other", "senet", "parameters", "multiply-adds", "statistics", "why"), rows, 2, text=1)


def equal_table() -> str:
    """Return the networks of other packages that are equal to ours in every number."""
    rows = []
    for each in beside_others():
        if not any(each.differences.values()):
            multiply_adds = count(each.spec, each.side).cost.multiply_adds
            rows.append((": ".join(each.key), title_of(each.spec), each.side, each.parameters, multiply_adds))
    return table(("other", "senet", "pixels", "parameters", "multiply-adds"), rows, 2)


def _agreeing(printed: Iterable[Printed], convention: str) -> str:
    """Return for example ``"20 of 30"``: how many numbers agree under one convention."""
    near = [each.off_by(convention) < 1 for each in printed if convention in each.ours]
    return f"{sum(near)} of {len(near)}"


def page() -> str:
    """Return the whole page."""
    printed, others = list(printed_numbers()), list(beside_others())
    return TEXT.read_text(encoding="utf-8").format(
        costs=costs_table(),
        work=work_table(),
        gflops=printed_table("gflops"),
        parameters=printed_table("params_m"),
        table_1=table(("network", "stage", "printed", "senet", "agrees"), table_1_rows(), 5),
        table_8=table_8(),
        differing=differing_table(),
        equal_ones=equal_table(),
        printed=len(printed),
        agreeing=sum(each.agrees() for each in printed),
        **{f"agreeing_{name}": _agreeing(printed, name) for name in (A, B, P, S)},
        others=len(others),
        equal=sum(not any(each.differences.values()) for each in others),
    )


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
