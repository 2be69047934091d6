from __future__ import annotations

import pytest
import torch

from senet.data.loader import ImageLoader, make_loader
from senet.data.part import Part
from senet.data.transforms import EvalTransform
from senet.errors import SenetError

from .pictures import numbered_arrays

PLAIN = EvalTransform(size=8, channels=1, crop="pad")


def loader(part: Part, *, count: int = 50, batch_size: int = 12, train: bool = True) -> ImageLoader:
    return make_loader(
        numbered_arrays(count), PLAIN, batch_size=batch_size, seed=3, workers=0, train=train, part=part
    )


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_pieces_of_all_processes_side_by_side_are_the_batch(processes: int, accumulate: int) -> None:
    whole = [batch.indices for batch in loader(Part()).epoch(1)]
    loaders = [
        loader(Part(process=number, processes=processes, accumulate=accumulate))
        for number in range(processes)
    ]
    shares = [[batch.indices for batch in each.epoch(1)] for each in loaders]
    assert len(whole) == 4 and all(len(share) == 4 * accumulate for share in shares)
    # Piece by piece, and in each of them process by process.
    joined = torch.cat([share[number] for number in range(4 * accumulate) for share in shares])
    assert torch.equal(joined, torch.cat(whole))
    for each, share in zip(loaders, shares, strict=True):
        assert {len(indices) for indices in share} == {each.piece_size} == {12 // (processes * accumulate)}


@pytest.mark.parametrize("start", [0, 1, 3])
def test_a_part_of_an_epoch_started_later_is_its_rest(start: int) -> None:
    part = Part(process=1, processes=2, accumulate=3)
    whole = [batch.indices.tolist() for batch in loader(part).epoch(0)]
    assert [batch.indices.tolist() for batch in loader(part).epoch(0, start)] == whole[3 * start :]


@pytest.mark.parametrize(("count", "processes"), [(50, 2), (50, 3), (10, 2), (12, 5)])
def test_test_batches_are_dealt_out_in_turn(count: int, processes: int) -> None:
    whole = [batch.indices.tolist() for batch in loader(Part(), count=count, train=False).epoch(0)]
    for number in range(processes):
        share = loader(Part(process=number, processes=processes), count=count, train=False).epoch(0)
        assert [batch.indices.tolist() for batch in share] == whole[number::processes]


@pytest.mark.parametrize(("count", "batch_size"), [(50, 10), (10, 12)])
def test_a_batch_that_cannot_be_cut_is_refused(count: int, batch_size: int) -> None:
    few = " of at most 10" if count < batch_size else ""
    with pytest.raises(
        SenetError,
        match=rf"A batch of 10 images cannot be divided into 4 equal parts \(2 .* accumulate "
        rf"2\).*size{few} that",
    ):
        loader(Part(processes=2, accumulate=2), count=count, batch_size=batch_size)
    loader(Part(processes=2, accumulate=2), count=count, batch_size=batch_size, train=False)
