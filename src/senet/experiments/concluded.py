"""What concluding a comparison leaves in its run folder: how often that was done, and the first measured cost.

Both belong to the run, not to one result of it. A finished command that is run again shows the same cost, and
an interval knows of the looks before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from senet.errors import SenetError
from senet.files import write_text
from senet.insight.results import MeasuredCost, NetworkCost, Spread

CONCLUDED_NAME = "concluded.json"


@dataclass(frozen=True, kw_only=True)
class StoredCost:
    """A measured cost and for how many seconds it was measured at least."""

    seconds: float
    cost: MeasuredCost


@dataclass(frozen=True, kw_only=True)
class Concluded:
    """What was there before.

    Attributes:
        looks: numbers of seeds after which the comparison was concluded, each once, in that order.
        costs: one of each device.
    """

    looks: tuple[int, ...] = ()
    costs: tuple[StoredCost, ...] = ()

    def look(self, seeds: int, elsewhere: Iterable[Concluded] = ()) -> Concluded:
        """Return this with a look after ``seeds``, and with those that were had in other folders.

        Seeds that were looked at before are no new look, since trainings end the same every time.
        """
        before = [look for each in (self, *elsewhere) for look in each.looks]
        return replace(self, looks=tuple(dict.fromkeys([*before, seeds])))

    def cost(self, device: str, seconds: float) -> MeasuredCost | None:
        """Return what was measured on ``device`` for as long or longer."""
        found = (each.cost for each in self.costs if each.cost.device == device and each.seconds >= seconds)
        return next(found, None)

    def with_cost(self, cost: MeasuredCost, seconds: float) -> Concluded:
        """Return this with a cost in the place of that of the same device."""
        others = (each for each in self.costs if each.cost.device != cost.device)
        return replace(self, costs=(*others, StoredCost(seconds=seconds, cost=cost)))


def read_concluded(folder: Path) -> Concluded:
    """Return what `write_concluded` wrote, or nothing where it did not.

    Raises:
        SenetError: the file is damaged.
    """
    path = folder / CONCLUDED_NAME
    if not path.exists():
        return Concluded()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        looks = tuple(int(each) for each in values["looks"])
        costs = tuple(
            StoredCost(seconds=float(each["seconds"]), cost=_cost(each["cost"])) for each in values["costs"]
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SenetError(
            f"{path} cannot be read: delete it, upon which the cost is measured again and earlier looks at the "
            "results are forgotten."
        ) from error
    return Concluded(looks=looks, costs=costs)


def write_concluded(folder: Path, concluded: Concluded) -> None:
    """Write it, whole or not at all."""
    write_text(folder / CONCLUDED_NAME, json.dumps(asdict(concluded), indent=1) + "\n")


def _cost(values: Mapping[str, Any]) -> MeasuredCost:
    return MeasuredCost(
        plain=_network(values["plain"]),
        se=_network(values["se"]),
        training_time_ratio=_spread(values["training_time_ratio"]),
        inference_time_ratio=_spread(values["inference_time_ratio"]),
        batch_size=int(values["batch_size"]),
        device=str(values["device"]),
    )


def _network(values: Mapping[str, Any]) -> NetworkCost:
    return NetworkCost(
        parameters=int(values["parameters"]),
        multiply_adds=int(values["multiply_adds"]),
        training_images_per_second=_spread(values["training_images_per_second"]),
        inference_ms_per_image=_spread(values["inference_ms_per_image"]),
        peak_memory_bytes=int(values["peak_memory_bytes"]),
    )


def _spread(values: Mapping[str, Any]) -> Spread:
    ends = {name: None if values[name] is None else float(values[name]) for name in ("low", "high")}
    numbers = {name: float(values[name]) for name in ("median", "p20", "p80")}
    return Spread(**numbers, **ends, count=int(values["count"]))
