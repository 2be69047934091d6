"""What `prune_gates` refuses, and that it leaves the model as it was."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.errors import SenetError
from senet.experiments.prune_gates import prune_gates
from tests.experiments.planted import pairs, planted, prune
from tests.small import same_state


class Failing:
    """Fails in one of its passes, or yields something odd there."""

    def __init__(self, at, odd=None):
        self.at, self.odd, self.passes = at, odd, 0

    def __iter__(self):
        self.passes += 1
        images, labels = pairs().tensors
        yield images[:50], labels[:50]
        if self.passes == self.at:
            if self.odd is None:
                raise OSError("the disk is gone")
            yield self.odd
        yield images[50:], labels[50:]


def test_what_fails_midway_leaves_the_model_as_it_was():
    passes = []
    prune(planted(), budget=1, progress=lambda done, total: passes.append((done, total)))
    assert passes == [(done, 10) for done in range(1, 11)]
    for at in range(2, 12):  # the first pass takes one batch only
        model = planted().train()
        with pytest.raises(SenetError, match="The Failing of images failed: the disk is gone"):
            prune(model, Failing(at), budget=1)
        assert same_state(model, planted())
        assert all(each.training for each in model.modules())
        assert not any("forward" in vars(each) or each._forward_pre_hooks for each in model.modules())
    prune(planted(), Failing(12), budget=1)


def test_interrupted_it_leaves_the_model_as_it_was():
    model = planted()

    def interrupt(done, _):
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(model, budget=1, progress=interrupt)
    assert same_state(model, planted())


@pytest.mark.parametrize("at", [2, 3, 5])
def test_a_loss_that_is_not_finite_is_refused(at):
    model = planted()
    calls = []

    def loss(scores, labels):
        calls.append(1)
        # Four batches in each pass.
        return functional.cross_entropy(scores, labels) * (math.nan if len(calls) > 4 * at else 1)

    with pytest.raises(SenetError, match="This Sequential has a loss of nan, so it cannot"):
        prune(model, loss=loss)
    assert same_state(model, planted())


def test_another_loss():
    report = prune(planted(), loss=functional.multi_margin_loss, dry_run=True)
    images, labels = pairs().tensors
    assert report.before.loss == pytest.approx(functional.multi_margin_loss(planted()(images), labels).item())


IMAGES, LABELS = torch.ones(4, 2, 3, 3), torch.tensor([0, 1, 2, 6])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"budget": -0.1}, "budget must be a share from 0 to 1, such as 0.001 for 0.1 points, not -0.1"),
        ({"budget": 1.5}, "budget must be a share from 0 to 1"),
        ({"budget": math.nan}, "budget must be a share"),
        ({"budget": True}, "budget must be .* not True"),
        ({"budget": "little"}, "budget must be .* not 'little'"),
        ({"seconds": -1}, "seconds must be at least 0, not -1"),
        ({"seconds": math.inf}, "seconds must be at least 0, not inf"),
        ({"loss": "mse"}, r"loss must be a function of \(scores, labels\), not 'mse'"),
        ({"loss": lambda s, _: s}, r"The loss must be .*single number, the .*of shape \(4, 7\)\."),
        ({"loader": []}, "The list yields no images"),
        ({"loader": iter([])}, "A list_iterator can only be iterated over once"),
        ({"loader": [IMAGES]}, "not a pair of images and labels"),
        ({"loader": [(IMAGES, LABELS + 1)]}, r"for a model with 7 outputs, not 7\."),
        ({"loader": [(IMAGES, LABELS - 1)]}, r"model with 7 outputs, not -1\."),
        ({"loader": [(IMAGES[:, :1], LABELS)]}, r"Sequential cannot run on images of shape \(4, 1, 3, 3\)"),
        ({"model": nn.Sequential(nn.Conv2d(2, 3, 1))}, "This Sequential has no senet.SqueezeExcitation"),
        ({"model": "se_resnet20"}, r"senet\.prune_gates needs a torch\.nn\.Module, not str\."),
        (
            {"model": nn.DataParallel(planted())},
            "wrapped in DataParallel: call senet.prune_gates",
        ),
        ({"model": SqueezeExcitation(2, 1)}, r"it must return class scores, \(N"),
    ],
)
def test_what_cannot_be_used_is_refused(changes, sentence):
    given = {"model": planted(), "loader": [(IMAGES, LABELS)], "seconds": 0, **changes}
    model = given.pop("model")
    with pytest.raises(SenetError, match=sentence):
        prune_gates(model, given.pop("loader"), **given)
