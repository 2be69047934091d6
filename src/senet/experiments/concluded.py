"""What concluding a comparison leaves in its run folder: how often it was done, and the cost measured first.

Both belong to the run, not to one result of it. A finished command that is run again shows the same cost, and
an interval knows of the looks before it. One after more seeds, or after trainings were extended to more
epochs, is a look of its own: whoever goes on until a difference shows finds one sooner or later, by either.
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
        looks: numbers of seeds after which the comparison was concluded, in that order.
        epochs: of the trainings at each look; empty where an older senet looked, which extended none.
        costs: one of each device.
    """

    looks: tuple[int, ...] = ()
    epochs: tuple[int, ...] = ()
    costs: tuple[StoredCost, ...] = ()

    def __post_init__(self) -> None:
        """Check what may come from a file."""
        if self.epochs and len(self.epochs) != len(self.looks):
            raise SchemaError(f"it has {len(self.looks)} looks and the epochs of {len(self.epochs)}")

    def look(self, seeds: int, epochs: int, elsewhere: Iterable[Concluded] = ()) -> Concluded:
        """Return this with a look after so many seeds and epochs, and with those had in other folders.

        A pair that was looked at before is no new look, since trainings end the same every time.
        """
        before = [
            look
            for each in (self, *elsewhere)
            for look in zip(each.looks, each.epochs or [epochs] * len(each.looks), strict=True)
        ]
        looks = dict.fromkeys([*before, (seeds, epochs)])
        return replace(self, looks=tuple(s for s, _ in looks), epochs=tuple(e for _, e in looks))

    def looks_until(self, seeds: int, epochs: int) -> tuple[int, ...]:
        """Return the numbers of seeds of all looks up to the one after so many seeds and epochs."""
        looks = list(zip(self.looks, self.epochs, strict=True))
        return self.looks[: looks.index((seeds, epochs)) + 1]

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
            f"{path} cannot be read ({error}): delete it to measure the cost again; earlier looks at the "
            "results are then forgotten."
        ) from error
    return concluded


def write_concluded(folder: Path, concluded: Concluded) -> None:
    """Write it, whole or not at all."""
    write_text(folder / CONCLUDED_NAME, json.dumps(asdict(concluded), indent=1) + "\n")
