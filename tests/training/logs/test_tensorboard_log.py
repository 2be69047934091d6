from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from senet.training.logs.tensorboard_log import TensorBoardLog
from tests.training.logs.records import metrics, record, start


@pytest.fixture(autouse=True)
def ordered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count files from 0: those of one second are ordered by this number as text, so 10 comes before 9.

    Real starts of a training are more than a second apart.
    """
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))


def read(folder: Path) -> EventAccumulator:
    """Read the folder as TensorBoard's own page does."""
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return events


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(each.step, each.value) for each in read(folder).Scalars(tag)]


def test_every_value_is_a_curve(tmp_path: Path) -> None:
    log = TensorBoardLog(start(tmp_path))
    log.step(record(50))
    log.epoch(60, metrics(1))
    log.close()
    assert set(read(tmp_path).Tags()["scalars"]) == {
        *(f"train/{name}" for name in ("learning_rate", "loss", "gradient_norm")),
        *(f"speed/{name}" for name in ("images_per_second", "data_wait", "memory_bytes", "seconds")),
        *(f"epoch/{name}" for name in ("epoch", "learning_rate", "train_loss", "test_loss")),
        *(f"epoch/{name}" for name in ("top1_error", "train_seconds", "data_wait")),
    }
    assert points(tmp_path, "train/loss") == [(50, pytest.approx(1 / 50))]
    assert points(tmp_path, "epoch/test_loss") == [(60, 2.0)]
    text = read(tmp_path).Tensors("training/text_summary")
    assert len(text) == 1 and b"se_resnet20" in text[0].tensor_proto.string_val[0]


@pytest.mark.parametrize("torn", [0, 1, 7, 60])
def test_steps_done_again_show_once(tmp_path: Path, torn: int) -> None:
    """Killed twice, with the last bytes of the event file lost."""
    for first, kept, last in ((0, 20, 25), (20, 20, 29), (20, 40, 40)):
        log = TensorBoardLog(start(tmp_path, step=first))
        for step in range(first + 1, last + 1):
            log.step(record(step, loss=float(last)))
            if step % 10 == 0:
                log.epoch(step, metrics(step // 10))
            if step == kept:
                log.flush()
        log.close()
        newest = max((tmp_path / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        if torn and last < 40:
            newest.write_bytes(newest.read_bytes()[:-torn])
    assert points(tmp_path, "train/loss") == [(step, 25.0 if step <= 20 else 40.0) for step in range(1, 41)]
    assert [step for step, _ in points(tmp_path, "epoch/test_loss")] == [10, 20, 30, 40]
    assert len(read(tmp_path).Tensors("training/text_summary")) == 1


def test_a_training_begun_again_hides_all_of_before(tmp_path: Path) -> None:
    for loss in (1.0, 2.0):
        log = TensorBoardLog(start(tmp_path))
        log.step(record(5, loss=loss))
        log.close()
    assert points(tmp_path, "train/loss") == [(5, 2.0)]
