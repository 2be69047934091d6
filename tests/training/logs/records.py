"""What the tests log."""

from __future__ import annotations

from pathlib import Path

from senet.insight.results import EpochMetrics
from senet.training.logs.log import Start, StepRecord
from senet.training.meter import Speed

FACTS = {"model": "se_resnet20", "seed": 3, "recipe": {"epochs": 2, "milestones": (1, 2)}}


def start(
    folder: Path, *, step: int = 0, state: dict[str, int | str] | None = None, notes: list[str] | None = None
) -> Start:
    said = [] if notes is None else notes
    return Start(folder=folder, facts=FACTS, step=step, state=state or {}, note=said.append)


def record(step: int, *, loss: float | None = None, speed: float = 100.0) -> StepRecord:
    return StepRecord(
        step=step,
        epoch=1 + step // 10,
        learning_rate=0.1 / step,
        loss=1 / step if loss is None else loss,
        gradient_norm=step / 3,
        speed=Speed(images_per_second=speed, data_wait=0.25, memory_bytes=2**40 + step, seconds=1.5),
    )


def metrics(epoch: int) -> EpochMetrics:
    return EpochMetrics(
        epoch=epoch,
        learning_rate=0.1,
        train_loss=1 / epoch,
        test_loss=2 / epoch,
        top1_error=50.0 / epoch,
        top5_error=None,
        train_seconds=3.0,
        data_wait=0.1,
    )
