"""What new networks start with: nothing is left as memory happened to be, and nothing is drawn in vain."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from senet.blocks import SqueezeExcitation
from senet.blocks.initialise import UnseenDrawsSkipped
from senet.networks import list_models, network_spec
from senet.networks.build import build_features, build_network
from tests.networks.short import distinct, shortened

TWINS = distinct(name for name in list_models() if network_spec(name).se is not None)


@pytest.fixture
def poisoned_memory():
    """Memory that nobody has written to holds NaN."""
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
@pytest.mark.usefixtures("poisoned_memory")
def test_every_value_is_set(name):
    for spec in (shortened(network_spec(name)), dataclasses.replace(shortened(network_spec(name)), se=None)):
        for model in (build_network(spec), build_features(spec)):
            assert [key for key, value in model.state_dict().items() if not value.isfinite().all()] == []


@pytest.mark.parametrize("name", ["se_resnet50", "se_mobilenet", "se_bn_inception", "se_preresnet164"])
def test_layers_start_as_described(name):
    torch.manual_seed(0)
    for layer in build_network(shortened(network_spec(name))).modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 2000:
            # He et al. (2015), as torch.nn.init counts fan-out: groups are not taken into account.
            fan_out = layer.out_channels * layer.weight[0, 0].numel()
            assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
            assert abs(layer.weight.mean().item()) < 0.1 * (2 / fan_out) ** 0.5
        elif isinstance(layer, SqueezeExcitation):
            assert layer.fc1.weight.std().item() == pytest.approx((2 / layer.channels) ** 0.5, rel=0.5)
        elif isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all() and (layer.running_var == 1).all()
            assert not layer.bias.any() and not layer.running_mean.any()


def test_the_same_seed_gives_the_same_values():
    def built(seed):
        torch.manual_seed(seed)
        return build_network(shortened(network_spec("se_resnet50"))).state_dict()

    one, same, other = built(1), built(1), built(2)
    assert all(torch.equal(value, same[key]) for key, value in one.items())
    drawn = [key for key, value in one.items() if not torch.equal(value, other[key])]
    convolutions = {key for key, value in one.items() if value.dim() == 4}
    assert convolutions < set(drawn) and "fc.weight" in drawn and "layer1.0.se.fc1.weight" in drawn


def test_what_torch_draws_for_a_convolution_is_left_out():
    # A network of one convolution takes as many random numbers as its weight has values.
    spec = dataclasses.replace(network_spec("resnet8"), depths=(), outputs=(), num_classes=0)
    torch.manual_seed(0)
    model = build_network(spec)
    torch.manual_seed(0)
    expected = torch.empty_like(model.conv1.weight)
    nn.init.kaiming_normal_(expected, mode="fan_out", nonlinearity="relu")
    assert torch.equal(model.conv1.weight, expected)


def test_other_draws_are_made():
    torch.manual_seed(0)
    expected = nn.Linear(5, 7)
    torch.manual_seed(0)
    with UnseenDrawsSkipped():
        linear = nn.Linear(5, 7)
        table = nn.init.normal_(torch.zeros(2, 3, 4, 5))
    assert torch.equal(linear.weight, expected.weight) and torch.equal(linear.bias, expected.bias)
    assert table.std() > 0.5
    # Outside a network's construction a convolution starts as torch has it.
    assert nn.Conv2d(3, 8, 3).weight.abs().max() > 0


def test_on_the_meta_device_random_numbers_are_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with torch.device("meta"):
        model = build_network(shortened(network_spec("se_vgg11_bn")))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(value.is_meta for value in model.state_dict().values())
    assert copy.deepcopy(model).spec == model.spec
