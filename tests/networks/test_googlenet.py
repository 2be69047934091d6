"""GoogLeNet against torchvision's with the same random weights."""

import pytest
import torch

from senet.networks import create_network
from tests.references import import_torchvision, randomise, relative_difference


def torchvision_googlenet():
    return import_torchvision().models.googlenet(aux_logits=False, init_weights=False, transform_input=False)


@pytest.mark.parametrize("side", [33, 64])
def test_torchvision_weights_load_directly_and_score_the_same(side):
    theirs = torchvision_googlenet().double().eval()
    randomise(theirs)
    ours = create_network("googlenet").double().eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, side, side + 9, dtype=torch.float64)
    expected = theirs(x)
    assert expected.std() > 1e-3
    assert relative_difference(ours(x), expected) < 1e-10


def test_training_is_torchvisions():
    theirs = torchvision_googlenet().double().train()
    randomise(theirs)
    ours = create_network("googlenet").double().train()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 3, 64, 64, dtype=torch.float64)
    scores = []
    for model in (ours, theirs):
        torch.manual_seed(0)  # for dropout
        scores.append(model(x))
        scores[-1].pow(2).sum().backward()
    assert relative_difference(*scores) < 1e-10
    for name, parameter in theirs.named_parameters():
        assert relative_difference(ours.get_parameter(name).grad, parameter.grad) < 1e-6, name
