"""What loading a checkpoint did, key by key."""

from __future__ import annotations

from dataclasses import dataclass

_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class LoadReport:
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

    def __str__(self) -> str:
        lines = [f"{self.network}: {self.loaded} tensors from {self.source} ({self.package})."]
        lines += [
            f"  {len(keys)} {what}: {_shortened(keys)}"
            for what, keys in (("new", self.new), ("dropped", self.dropped))
            if keys
        ]
        return "\n".join([*lines, *(f"  {sentence}" for sentence in (*self.changes, *self.assumed))])


def _shortened(keys: tuple[str, ...]) -> str:
    shown = ", ".join(keys[:_NAMED])
    rest = len(keys) - _NAMED
    return f"{shown} and {rest} more" if rest > 0 else shown
