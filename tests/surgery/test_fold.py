import copy
import pickle

import pytest
import torch
from torch import nn

import senet
from senet.blocks.tail import FoldedNorm
from senet.errors import SenetError
from senet.networks.build import build_network
from senet.networks.zoo import list_models, network_spec
from senet.surgery.fold import FoldedConvolution, fold
from tests.networks.short import distinct, few_classes, images, shortened
from tests.references import randomise, relative_difference

# Where a sum, a shake or a concatenation stands between a convolution and a BatchNorm, it stays.
NOTHING_STAYS = (
    "se_resnet8",
    "se_resnet50b",
    "se_vgg11_bn",
    "se_bn_inception",
    "se_mobilenet",
    "se_shufflenet_g3",
)


def network(name, seed=3):
    torch.manual_seed(seed)
    model = build_network(few_classes(shortened(network_spec(name)))).eval()
    randomise(model, seed)
    return model


def norms(model):
    return [name for name, each in model.named_modules() if isinstance(each, nn.BatchNorm2d)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*(name for name in distinct(list_models()) if name.startswith("se")), "resnet50b", "vgg11_bn"]
)
def test_scores_stay_and_nothing_of_the_model_changes(name):
    model = network(name)
    before = copy.deepcopy(model.state_dict())
    x = images(model.spec, 2)
    folded = fold(model, x[:1])
    assert any(isinstance(each, FoldedConvolution) for each in folded.modules())
    if name in NOTHING_STAYS:
        assert norms(folded) == []
    with torch.no_grad():
        expected = model(x)
        assert relative_difference(folded(x), expected) <= 1e-5
        # In another type and layout, without weights in oneDNN's order.
        doubled = copy.deepcopy(folded).double()(x.double().to(memory_format=torch.channels_last))
        assert relative_difference(doubled, copy.deepcopy(model).double()(x.double())) <= 1e-5
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert norms(model) != []


def test_copies_of_the_copy_compute_the_same():
    model = network("se_resnet8")
    x = images(model.spec, 2)
    folded = fold(model, x)
    with torch.no_grad():
        expected = folded(x)
        for twin in (copy.deepcopy(folded), pickle.loads(pickle.dumps(folded))):
            assert torch.equal(twin(x), expected)
        other = fold(network("se_resnet8", seed=4), x)
        assert not torch.equal(other(x), expected)
        other.load_state_dict(folded.state_dict())
        assert torch.equal(other(x), expected)


@pytest.mark.slow
def test_compiled_and_exported_it_computes_the_same():
    torch._dynamo.reset()
    model = network("se_resnet8")
    x = images(model.spec, 2)
    folded = fold(model, x)
    with torch.no_grad():
        expected = folded(x)
        assert (
            relative_difference(torch.compile(folded, fullgraph=True, backend="eager")(x), expected) <= 1e-5
        )
    program = torch.export.export(folded, (x,))
    assert relative_difference(program.module()(x).detach(), expected) <= 1e-5


def test_an_output_that_goes_elsewhere_keeps_its_batchnorm():
    model = network("se_preresnet110")
    # The stem's convolution feeds the first unit's BatchNorm and its shortcut.
    assert "layer1.0.bn1" in norms(fold(model, images(model.spec, 1)))
    assert "layer1.0.bn2" not in norms(fold(model, images(model.spec, 1)))


def test_a_layer_with_a_hook_stays():
    model = network("se_resnet8")
    model.layer1[0].conv1.register_forward_hook(lambda *_: None)
    model.layer2[0].bn1.register_forward_hook(lambda *_: None)
    folded = fold(model, images(model.spec, 1))
    assert norms(folded) == ["layer1.0.bn1", "layer2.0.bn1"]


def test_the_relu_goes_along_where_it_follows_at_once():
    folded = fold(network("se_resnet8"), torch.randn(1, 3, 32, 32))
    assert folded.layer1[0].bn1.includes_relu
    assert not folded.layer1[0].bn2.includes_relu
    assert isinstance(folded.layer1[0].bn2, FoldedNorm)


def test_what_cannot_be_folded_is_refused():
    with pytest.raises(SenetError, match="Nothing in this Sequential can be folded:"):
        fold(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), torch.randn(1, 3, 4, 4))


def test_it_is_public():
    assert senet.fold is fold
