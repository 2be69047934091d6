"""What concluding a comparison leaves in its run folder: how often it was done, and the cost measured first.

Both belong to the run, not to one result of it. A finished command that is run again shows the same cost, and
an interval knows of the looks before it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from senet.errors import SenetError
from senet.files import write_text
from senet.insight.results import MeasuredCost
from senet.schema import Schema, SchemaError, parse_json

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
        content = parse_json(path.read_text(encoding="utf-8"))
        concluded: Concluded = Schema().build(Concluded, content, path.name)
    except (OSError, UnicodeDecodeError, SchemaError) as error:
        raise SenetError(
            f"{path} cannot be read ({error}): delete it, after which the cost is measured again and earlier "
            "looks at the results are forgotten."
        ) from error
    return concluded


def write_concluded(folder: Path, concluded: Concluded) -> None:
    """Write it, whole or not at all."""
    write_text(folder / CONCLUDED_NAME, json.dumps(asdict(concluded), indent=1) + "\n")
