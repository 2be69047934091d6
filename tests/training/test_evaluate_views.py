from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from senet.data.loader import ImageLoader, make_loader
from senet.data.views import Views
from senet.training.evaluate import evaluate
from senet.training.evaluate_views import as_scores, evaluate_views, fuse
from senet.training.images import Normalise
from tests.small import small_network, small_source

CPU = torch.device("cpu")
NORMALISE = Normalise((0.4,), (0.2,), CPU)
AUTOCAST = torch.autocast("cpu", torch.bfloat16, enabled=False)


def loader(size: int = 8, resize: int = 8, crops: int = 1, count: int = 30) -> ImageLoader:
    view = Views(size=size, channels=1, crop="resized", resize=resize, crops=crops)
    return make_loader(small_source(count), view, batch_size=7, seed=0, workers=0, train=False)


class Wide(nn.Module):
    """Seven scores, so that five guesses are not all."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_network()
        self.last = nn.Linear(3, 7)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.last(self.inner(x))
        return scores


@pytest.mark.parametrize("model", [small_network(), Wide()], ids=["3 classes", "7 classes"])
def test_one_crop_is_what_training_does(model: nn.Module) -> None:
    model.train()
    plain = evaluate(model, loader(), NORMALISE, AUTOCAST)
    found = evaluate_views(model, loader(), NORMALISE, AUTOCAST, keep=True)
    assert found.evaluation == plain
    assert model.training
    assert found.probabilities is not None
    assert found.probabilities.argmax(1).tolist() == plain.predictions
    assert found.confidence == found.probabilities.amax(1).tolist()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("crops", [1, 5])
def test_probabilities_are_averaged(crops: int, flip: bool) -> None:
    model = Wide().eval()
    (batch, *_) = (each for each in [next(iter(loader(6, 8, crops, 7).epoch(0)))])
    images = NORMALISE(batch.images.view(-1, 1, 6, 6))
    each = [images, images.flip(3)] if flip else [images]
    with torch.inference_mode():
        expected = torch.stack([model(x).softmax(1).view(7, crops, 7).mean(1) for x in each]).mean(0)
    seen: list[int] = []
    found = evaluate_views(
        model,
        loader(6, 8, crops, 7),
        NORMALISE,
        AUTOCAST,
        crops=crops,
        flip=flip,
        keep=True,
        step=seen.append,
    )
    assert found.probabilities is not None and seen == [7]
    torch.testing.assert_close(found.probabilities, expected)
    loss = functional.nll_loss(expected.log(), batch.labels).item()
    assert found.evaluation.loss == pytest.approx(loss, rel=1e-5)
    five = expected.topk(5).indices
    assert found.evaluation.in_top5 == (five == batch.labels[:, None]).any(1).tolist()


def test_sizes_are_fused() -> None:
    random = np.random.default_rng(0)
    parts = [torch.from_numpy(random.dirichlet(np.ones(6), 20)).float() for _ in range(3)]
    labels = torch.from_numpy(random.integers(0, 6, 20))
    found = fuse(parts, labels)
    mean = (parts[0] + parts[1] + parts[2]) / 3
    assert found.evaluation.predictions == mean.argmax(1).tolist()
    assert found.evaluation.loss == pytest.approx(functional.nll_loss(mean.log(), labels).item(), rel=1e-5)
    torch.testing.assert_close(torch.tensor(found.confidence), mean.amax(1))


def test_a_probability_of_zero_has_a_finite_score() -> None:
    probabilities = torch.tensor([[1.0, 0.0]])
    assert torch.isfinite(as_scores(probabilities)).all()
    torch.testing.assert_close(as_scores(probabilities).softmax(1), probabilities)
