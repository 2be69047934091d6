from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from senet.errors import SenetError
from senet.randomness import seed_from
from senet.training.mixing import Mixing
from tests.references import import_torchvision

SEED, STEP = 5, 17


def batch(
    count: int, channels: int = 3, height: int = 6, width: int = 9, kind: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    images = torch.rand(count, channels, height, width, generator=generator, dtype=torch.float64)
    images = (images * 255).round().to(kind) if kind == torch.uint8 else images.to(kind)
    labels = torch.randint(4, (count,), generator=generator)
    targets = functional.one_hot(labels, 4).to(torch.float64 if kind == torch.uint8 else kind)
    return images.contiguous(memory_format=torch.channels_last), targets


def draws(mixing: Mixing, total: int, step: int = STEP) -> tuple[bool, np.ndarray, np.ndarray]:
    """The documented draws: which of the two, then all shares, then all centres."""
    generator = np.random.Generator(np.random.PCG64(seed_from("mix", mixing.seed, step)))
    mixup = mixing.mixup > 0
    if mixing.mixup and mixing.cutmix:
        mixup = generator.random() < 0.5
    a = mixing.mixup if mixup else mixing.cutmix
    return mixup, generator.beta(a, a, total // 2), generator.random((total // 2, 2))


def by_a_loop(images: Tensor, targets: Tensor, mixing: Mixing, total: int) -> tuple[Tensor, Tensor]:
    """The two papers' formulas, one pair after the other, over a whole batch without repeats."""
    mixup, shares, centres = draws(mixing, total)
    new_images, new_targets = images.clone(), targets.clone()
    height, width = images.shape[2:]
    for k in range(len(images) // 2):
        share = shares[k]
        for a, b in ((2 * k, 2 * k + 1), (2 * k + 1, 2 * k)):
            if mixup:
                new_images[a] = share * images[a] + (1 - share) * images[b]
                new_targets[a] = share * targets[a] + (1 - share) * targets[b]
                continue
            rows, columns = (math.floor(side * math.sqrt(1 - share)) for side in (height, width))
            top = math.floor(centres[k, 0] * height) - rows // 2
            left = math.floor(centres[k, 1] * width) - columns // 2
            box = (slice(max(top, 0), max(top + rows, 0)), slice(max(left, 0), max(left + columns, 0)))
            new_images[a][:, box[0], box[1]] = images[b][:, box[0], box[1]]
            kept = 1 - new_images[a][0, box[0], box[1]].numel() / (height * width)
            new_targets[a] = kept * targets[a] + (1 - kept) * targets[b]
    return new_images, new_targets


BOTH = [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 0.7}]


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(2, 9),
    channels=st.sampled_from([1, 3]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    options=st.sampled_from(BOTH),
    seed=st.integers(0, 1000),
)
def test_pairs_are_mixed_as_a_plain_loop_does(
    count: int, channels: int, height: int, width: int, options: dict[str, float], seed: int
) -> None:
    images, targets = batch(count, channels, height, width)
    mixing = Mixing(**options, seed=seed)
    expected = by_a_loop(images, targets, mixing, count)
    mixed = mixing(images, targets, step=STEP, first=0, total=count)
    assert mixed[0] is images and mixed[1] is targets, "in place"
    for ours, theirs in zip(mixed, expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-15
    if not draws(mixing, count)[0]:
        assert torch.equal(mixed[0], expected[0]), "CutMix only moves pixels"


@pytest.mark.parametrize("options", BOTH)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.uint8, torch.bfloat16])
@pytest.mark.parametrize(("total", "repeats", "pieces"), [(16, 1, 2), (24, 1, 6), (24, 3, 2), (48, 2, 4)])
def test_pieces_give_what_the_whole_batch_gives(
    options: dict[str, float], kind: torch.dtype, total: int, repeats: int, pieces: int
) -> None:
    mixing = Mixing(**options, seed=SEED, repeats=repeats)
    for step in range(4):  # both kinds, where both are on
        whole = mixing(*batch(total, kind=kind), step=step, first=0, total=total)
        images, targets = batch(total, kind=kind)
        size = total // pieces
        for first in range(0, total, size):
            piece = slice(first, first + size)
            mixing(images[piece], targets[piece], step=step, first=first, total=total)
        assert torch.equal(images, whole[0]) and torch.equal(targets, whole[1])
        assert not torch.equal(images, batch(total, kind=kind)[0])


@pytest.mark.parametrize("options", BOTH)
def test_images_whose_partner_is_elsewhere_stay_as_they_are(options: dict[str, float]) -> None:
    mixing = Mixing(**options, seed=SEED)
    before, targets = batch(10)
    whole = mixing(before.clone(), targets.clone(), step=STEP, first=0, total=10)[0]
    odd = mixing(before[5:10].clone(), targets[5:10].clone(), step=STEP, first=5, total=10)[0]
    assert torch.equal(odd[0], before[5]), "position 5 goes with position 4"
    assert torch.equal(odd[1:], whole[6:])
    odd = mixing(before[:5].clone(), targets[:5].clone(), step=STEP, first=0, total=10)[0]
    assert torch.equal(odd[4], before[4]) and torch.equal(odd[:4], whole[:4])


def test_copies_of_an_image_are_never_mixed_with_each_other() -> None:
    for repeats in (2, 3, 4):
        images = torch.arange(24).div(repeats, rounding_mode="floor").double().view(-1, 1, 1, 1)
        images = images.repeat(1, 1, 4, 4)
        targets = functional.one_hot(images[:, 0, 0, 0].long(), 24).double()
        mixed = Mixing(mixup=1.0, seed=SEED, repeats=repeats)(images, targets, step=STEP, first=0, total=24)
        for number in range(24 // (2 * repeats) * 2 * repeats):
            shares = mixed[1][number]
            own, partner = number // repeats, number // repeats ^ 1
            assert shares.nonzero().flatten().tolist() == sorted((own, partner))
            assert mixed[0][number, 0, 0, 0] == pytest.approx(
                (shares[own] * own + shares[partner] * partner).item()
            )
        assert len({round(values.max().item(), 9) for values in mixed[1]}) >= 24 // (2 * repeats) * repeats


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_pairs_are_mixed_as_torchvision_mixes_a_batch_of_two(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_torchvision()
    v2 = importlib.import_module("torchvision.transforms.v2")
    monkeypatch.setattr("senet.training.mixing.np.random.Generator", lambda _: Fixed(share))
    for options, theirs in (({"mixup": 1.0}, v2.MixUp), ({"cutmix": 1.0}, v2.CutMix)):
        images, targets = batch(2, height=16, width=16)
        original, labels = images.clone(), targets.argmax(dim=1)
        mixed, shares = Mixing(**options, seed=SEED)(images, targets, step=STEP, first=0, total=2)
        transform = theirs(num_classes=4)
        lam = share
        if theirs is v2.CutMix:
            side = int(16 * math.sqrt(1 - share))
            low, high = 8 - side // 2, 8 - side // 2 + side
            lam = 1 - side**2 / 256
            parameters = {"box": (low, low, high, high), "lam_adjusted": lam}
        else:
            parameters = {"lam": lam}
        parameters |= {"labels": labels, "batch_size": 2}
        expected = transform.transform(original, parameters)
        assert torch.allclose(mixed, expected, rtol=0, atol=1e-12)
        mixed_labels = functional.one_hot(labels, 4).double()
        mixed_labels = lam * mixed_labels + (1 - lam) * mixed_labels.flip(0)
        assert torch.allclose(shares, mixed_labels, rtol=0, atol=1e-12)


class Fixed:
    """Always this share, and the middle of the image."""

    def __init__(self, share: float) -> None:
        self.share = share

    def beta(self, a: float, b: float, size: int) -> np.ndarray:
        return np.full(size, self.share)

    def random(self, size: tuple[int, int]) -> np.ndarray:
        return np.full(size, 0.5)


def test_bytes_take_the_nearest_value() -> None:
    for channels in (1, 3):
        images, targets = batch(64, channels, kind=torch.uint8)
        exact = by_a_loop(images.double(), targets, Mixing(mixup=1.0, seed=SEED), 64)
        mixed = Mixing(mixup=1.0, seed=SEED)(images, targets, step=STEP, first=0, total=64)
        assert mixed[0].dtype == torch.uint8
        assert (mixed[0].double() - exact[0]).abs().max() < 0.5 + 1e-4


def test_every_step_and_seed_mixes_its_own_way_and_takes_both_equally_often() -> None:
    outcomes, kinds = set(), []
    for seed in range(2):
        mixing = Mixing(mixup=0.3, cutmix=0.9, seed=seed)
        for step in range(100):
            images, targets = mixing(*batch(8), step=step, first=0, total=8)
            outcomes.add(images.numpy().tobytes() + targets.numpy().tobytes())
            kinds.append(bool(torch.isin(images, batch(8)[0]).all()))
    assert len(outcomes) == 200
    assert 70 < sum(kinds) < 130


def test_targets_stay_probabilities_and_no_image_is_lost() -> None:
    for options in BOTH:
        images, targets = batch(32)
        sums = images.sum()
        mixed, shares = Mixing(**options, seed=1)(images, targets, step=0, first=0, total=32)
        assert torch.allclose(shares.sum(dim=1), torch.ones(32, dtype=torch.float64))
        assert shares.min() >= 0
        # Both images of a pair are kept, half here, half there.
        assert mixed.sum() == pytest.approx(sums.item())


def test_global_random_numbers_are_left_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    Mixing(cutmix=1.0, seed=0)(*batch(4), step=0, first=0, total=4)
    assert torch.equal(torch.get_rng_state(), before[0]) and np.random.get_state()[1].tolist() == before[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "nothing to mix"),
        ({"mixup": -0.1}, r"mixup must be .*above, not -0\.1\."),
        ({"cutmix": math.nan}, r"cutmix must be 0 \(off\) or above, not nan\."),
        ({"mixup": 1.0, "repeats": 0}, r"repeats must be .*1, not 0\."),
    ],
)
def test_bad_values_are_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(SenetError, match=said):
        Mixing(**options, seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "first", "repeats"), [(1, 0, 1), (2, 1, 1), (3, 0, 2)])
def test_a_piece_without_a_pair_is_refused(count: int, first: int, repeats: int) -> None:
    mixing = Mixing(mixup=1.0, seed=0, repeats=repeats)
    with pytest.raises(SenetError, match=f"from the {count} images? that .* at least {2 * repeats}"):
        mixing(*batch(count), step=0, first=first, total=8)
