"""The part of the work that one of several processes does."""

from __future__ import annotations

from dataclasses import dataclass

from senet.errors import SenetError
from senet.text import counted


@dataclass(frozen=True, kw_only=True)
class Part:
    """Which part of every training batch one process loads.

    A batch is cut into ``accumulate`` pieces, one after the other, and each of these into one for every
    process. So the images of a piece are the same whatever the number of processes is.

    Attributes:
        process: number of this process, from 0.
        processes: how many share a batch.
        accumulate: pieces one process loads one after the other for one batch.
    """

    process: int = 0
    processes: int = 1
    accumulate: int = 1

    def check_batch(self, batch_size: int, images: int) -> None:
        """Do nothing where every batch can be cut into equal parts.

        Args:
            batch_size: images per batch, over all processes.
            images: to train on; a batch never holds more.

        Raises:
            SenetError: it cannot.
        """
        pieces = self.accumulate * self.processes
        if min(batch_size, images) % pieces:
            few = f" of at most {images}" if batch_size > images else ""
            raise SenetError(
                f"A batch of {counted(min(batch_size, images), 'image')} cannot be divided into {pieces} "
                f"equal parts ({counted(self.processes, 'process')} × accumulate {self.accumulate}): "
                f"choose a batch size{few} that is divisible by {pieces}."
            )


WHOLE = Part()
