import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from senet.blocks import SEConfig
from senet.blocks.cost import parameter_count
from senet.errors import SenetError
from senet.insight.cost import Cost, cost
from senet.networks import create_network, list_models
from tests.references import import_timm


def meta(name, **choices):
    with torch.device("meta"):
        return create_network(name, **choices)


@pytest.mark.parametrize("name", list_models())
def test_a_trace_counts_the_same(name):
    model = meta(name, in_channels=4, num_classes=7).eval()
    shape = (4, 33, 46)
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, *shape, device="meta"))
    expected = Cost(parameters=parameter_count(model), multiply_adds=counter.get_total_flops() // 2)
    assert cost(model, shape) == expected


@pytest.mark.parametrize("placement", ["pre", "post", "identity", "conv3x3"])
@pytest.mark.parametrize("name", ["resnet8", "resnet50"])
def test_a_trace_counts_the_same_at_every_placement(name, placement):
    model = meta(name, se=SEConfig(placement=placement)).eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 33, 46, device="meta"))
    assert cost(model, (3, 33, 46)).multiply_adds * 2 == counter.get_total_flops()


def test_a_name_or_a_side_is_enough():
    expected = Cost(parameters=28_088_024, multiply_adds=3_860_488_192)
    assert cost("se_resnet50") == expected
    assert cost("se_resnet50", 224) == cost(meta("se_resnet50"), (3, 224, 224)) == expected
    assert cost(meta("resnet8", in_channels=1)) == cost(meta("resnet8", in_channels=1), (1, 32, 32))


def test_a_foreign_network_is_counted_and_left_as_it_was():
    model = import_timm().create_model("legacy_seresnet50")
    model.layer4.eval()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    assert cost(model, 224) == cost("se_resnet50")
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.device.type == "cpu" and p.grad is None for p in model.parameters())


class NeedsValues(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        return self.fc(x.flatten(1)) if x.sum().item() == 0 else x


def test_a_network_that_cannot_run_without_values_runs_on_its_own():
    assert cost(NeedsValues(), (3, 2, 2)) == Cost(parameters=65, multiply_adds=60)
    with torch.device("meta"):
        model = NeedsValues()
    with pytest.raises(SenetError, match="NeedsValues cannot run on"):
        cost(model, 2)


def test_a_network_with_a_layer_somebody_replaced_is_traced():
    model = meta("resnet8")
    model.avgpool = nn.Sequential(nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool2d(1))
    assert cost(model) == cost("resnet8")


def test_sizes_that_make_no_sense_are_refused():
    with pytest.raises(SenetError, match="input size of a Linear is not known"):
        cost(nn.Linear(1, 1))
    with pytest.raises(SenetError, match=r"must be \(channels, height, width\) of at least 1, not"):
        cost(nn.Linear(1, 1), (3, 0, 5))
    with pytest.raises(SenetError, match="leaves no pixel"):
        cost("vgg16_bn", 31)
    with pytest.raises(SenetError, match="no network called"):
        cost("vgg12", 224)
