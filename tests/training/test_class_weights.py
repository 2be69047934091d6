from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from senet.errors import SenetError
from senet.training.class_weights import class_weights
from senet.training.loss import training_loss

CLASSES = ("cat", "dog", "a=b")
LABELS = np.array([0] * 6 + [1] * 3 + [2] * 1)


def test_auto_is_n_over_k_times_the_images_of_the_class() -> None:
    weights = class_weights(("auto",), LABELS, CLASSES)
    assert weights is not None and weights.dtype == torch.float32
    assert torch.allclose(weights, torch.tensor([10 / 18, 10 / 9, 10 / 3]))


@given(counts=st.lists(st.integers(1, 40), min_size=2, max_size=6), factor=st.floats(0.01, 100))
def test_over_the_training_images_weights_have_the_mean_one(counts: list[int], factor: float) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    classes = [str(number) for number in range(len(counts))]
    for setting in (("auto",), (f"1={factor}",)):
        if setting != ("auto",) and factor == 1:
            continue
        weights = class_weights(setting, labels, classes)
        if weights is None:
            assert setting == ("auto",) and len(set(counts)) == 1
        else:
            assert weights[torch.from_numpy(labels)].double().mean().item() == pytest.approx(1, rel=1e-5)


def test_a_map_keeps_its_proportions_and_leaves_others_at_one() -> None:
    weights = class_weights(("dog=4", "a=b=0.5"), LABELS, CLASSES)
    assert weights is not None
    assert torch.allclose(weights / weights[0], torch.tensor([1.0, 4.0, 0.5]))


def test_with_auto_every_class_has_the_same_part_in_the_loss() -> None:
    weights = class_weights(("auto",), LABELS, CLASSES)
    scores, labels = torch.zeros(10, 3), torch.from_numpy(LABELS)
    parts = [
        training_loss(scores[labels == k], labels[labels == k], weights) * (labels == k).sum()
        for k in range(3)
    ]
    assert torch.allclose(torch.stack(parts), parts[0].expand(3))


def test_nothing_asked_for_and_equal_classes_give_no_weights() -> None:
    assert class_weights((), LABELS, CLASSES) is None
    assert class_weights(("auto",), np.arange(9) % 3, CLASSES) is None


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (("dgo=2",), r"'dgo', but the images have 3 classes: cat, dog, a=b.*mean 'dog'\?$"),
        (("cat=2", "dog=2", "a=b=2"), "cat=2 dog=2 a=b=2 gives every class the same weight"),
        (("cat=1",), "no effect"),
    ],
)
def test_what_cannot_be_meant_is_refused(setting: tuple[str, ...], said: str) -> None:
    with pytest.raises(SenetError, match=said):
        class_weights(setting, LABELS, CLASSES)


def test_auto_refuses_a_class_without_images() -> None:
    with pytest.raises(SenetError, match="'a=b' has no training images"):
        class_weights(("auto",), LABELS[:-1], CLASSES)
