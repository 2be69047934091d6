"""VGG against torchvision's with the same random weights."""

import dataclasses

import pytest
import torch
from torch import nn

from senet.networks import create_network, network_spec
from senet.networks.build import build_network
from tests.references import import_torchvision, randomise, relative_difference


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg11_bn", "vgg16_bn"])
def test_scores_are_torchvisions(name):
    ours = build_network(dataclasses.replace(network_spec(name), hidden=32)).double().eval()
    theirs = getattr(import_torchvision().models, name)(init_weights=False)
    # The hidden layers are the slow part and hold no SE.
    theirs.classifier[0], theirs.classifier[3] = nn.Linear(512 * 49, 32), nn.Linear(32, 32)
    theirs.classifier[6] = nn.Linear(32, 1000)
    theirs.double().eval()
    randomise(theirs)
    # Both list the same tensors in the same order.
    values = theirs.state_dict().values()
    ours.load_state_dict(dict(zip(ours.state_dict(), values, strict=True)))
    x = torch.randn(2, 3, 40, 67, dtype=torch.float64)
    expected = theirs(x)
    assert expected.std() > 1e-3
    assert relative_difference(ours(x), expected) < 1e-10


def test_dropout_stands_where_torchvision_has_it():
    with torch.device("meta"):
        ours = create_network("vgg16_bn").classifier
        theirs = import_torchvision().models.vgg16_bn().classifier
    assert [str(layer) for layer in ours] == [str(layer) for layer in theirs]
