"""What loading a checkpoint did, key by key."""

from __future__ import annotations

from dataclasses import dataclass

from senet.shown import Rows, Shown, Table
from senet.text import counted

_NAMED = 3


@dataclass(frozen=True, kw_only=True, repr=False)
class LoadReport(Shown):
    """What came from a checkpoint and what did not.

    Attributes:
        source: the file, or the repository and the file in it.
        package: whose names the layers had.
        network: the network that was filled.
        loaded: tensors that came from the checkpoint.
        new: keys of the network that the checkpoint has nothing for; they keep their fresh values.
        dropped: keys of the checkpoint, as written there, that the network has no use for.
        changes: sentences on what was adapted, such as the max pool.
        assumed: sentences on what the file does not tell and the call decided. Look here first where a
            loaded network is no good.
        classes: names of the classes in label order, where the checkpoint tells them.
    """

    source: str
    package: str
    network: str
    loaded: int
    new: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None

    def to_rows(self) -> Rows:
        """Return one row each for the tensors that were loaded, that are new, and that were dropped."""
        return [
            {"tensors": "loaded", "count": self.loaded, "names": None},
            {"tensors": "new", "count": len(self.new), "names": ", ".join(self.new)},
            {"tensors": "dropped", "count": len(self.dropped), "names": ", ".join(self.dropped)},
        ]

    def table(self) -> Table:
        """Return what came from where, what did not, and what was decided."""
        lines = [
            (what, f"{len(keys):,}", _shortened(keys))
            for what, keys in (("new", self.new), ("dropped", self.dropped))
            if keys
        ]
        return Table(
            title=(f"{self.network}: {counted(self.loaded, 'tensor')} from {self.source} ({self.package}).",),
            head=("", "tensors", "names"),
            lines=lines,
            numbers=(1,),
            notes=(*self.changes, *self.assumed),
        )

    @property
    def sentences(self) -> str:
        """What the table says, for a place of a few lines."""
        parts = [f"{self.network}: {counted(self.loaded, 'tensor')} from {self.source} ({self.package})"]
        parts += [
            f"{what}: {_shortened(keys)}"
            for what, keys in (("new", self.new), ("dropped", self.dropped))
            if keys
        ]
        return " ".join((f"{'; '.join(parts)}.", *self.changes, *self.assumed))

    def __str__(self) -> str:
        """Return all of the table."""
        return self.table().text()


def _shortened(keys: tuple[str, ...]) -> str:
    shown = ", ".join(keys[:_NAMED])
    rest = len(keys) - _NAMED
    return f"{shown} and {rest} more" if rest > 0 else shown
