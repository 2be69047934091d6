"""Steps as tables: ``steps.csv``, the same bytes in every run, and ``speed.csv``, which differs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields

from senet.files import AppendedFile, written_whole
from senet.insight.results import EpochMetrics
from senet.training.logs.log import Start, State, StepRecord
from senet.training.meter import Speed

STEPS_NAME = "steps.csv"
SPEED_NAME = "speed.csv"
_STEPS_COLUMNS = ("step", "epoch", "learning_rate", "loss", "gradient_norm")
_SPEED_COLUMNS = ("step", *(each.name for each in fields(Speed)))


class CsvLog:
    """Writes ``steps.csv`` and ``speed.csv``; the epochs stand in ``metrics.csv``.

    Both files are cut back to the size they had when the checkpoint was saved, so that a training that
    was killed and went on has the ``steps.csv`` of one that ran through, byte for byte.
    """

    def __init__(self, start: Start) -> None:
        """Go on with both files, or begin them.

        Raises:
            SenetError: a file cannot be written.
        """
        self._steps = _open(start, STEPS_NAME, _STEPS_COLUMNS)
        self._speed = _open(start, SPEED_NAME, _SPEED_COLUMNS)

    @staticmethod
    def failures() -> tuple[type[Exception], ...]:
        """Return nothing: a full disk ends the training, whose checkpoints need it too."""
        return ()

    def step(self, record: StepRecord) -> None:
        """Append a row to each file.

        Raises:
            SenetError: the disk is full.
        """
        self._steps.append(_row(getattr(record, name) for name in _STEPS_COLUMNS))
        self._speed.append(_row([record.step, *asdict(record.speed).values()]))

    def epoch(self, step: int, metrics: EpochMetrics) -> None:
        """Do nothing: ``metrics.csv`` has the epochs."""

    def flush(self) -> None:
        """Wait until both files are on the disk.

        Raises:
            SenetError: the disk is full.
        """
        self._steps.sync()
        self._speed.sync()

    def state(self) -> State:
        """Return the size of each file in bytes."""
        return {STEPS_NAME: self._steps.size, SPEED_NAME: self._speed.size}

    def close(self) -> None:
        """Close both files."""
        self._steps.close()
        self._speed.close()


def _open(start: Start, name: str, columns: tuple[str, ...]) -> AppendedFile:
    path, size = start.folder / name, start.state.get(name)
    if isinstance(size, int) and path.exists() and path.stat().st_size >= size:
        return AppendedFile(path, size)
    if start.step:
        start.note(f"{path} ends before step {start.step}: it starts over with the step after it.")
    header = _row(columns).encode()
    with written_whole(path, keep_previous=start.step > 0) as stream:
        stream.write(header)
    return AppendedFile(path, len(header))


def _row(values: Iterable[object]) -> str:
    return ",".join("" if value is None else str(value) for value in values) + "\n"
