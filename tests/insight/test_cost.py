import copy
import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from senet.blocks import SqueezeExcitation
from senet.blocks.cost import byte_count, parameter_count
from senet.errors import SenetError
from senet.insight.cost import Cost, cost
from senet.networks import create_network
from tests.references import import_timm, import_torchvision, pytorchcv_model

PUBLISHED = {
    (row["package"], row["model"]): row
    for row in csv.DictReader((Path(__file__).parents[2] / "docs" / "paper" / "complexity.csv").open())
}


def meta(name, **choices):
    with torch.device("meta"):
        return create_network(name, **choices)


def timms(name):
    with torch.device("meta"):
        return import_timm().create_model(name)


def torchvisions(name):
    with torch.device("meta"):
        return getattr(import_torchvision().models, name)()


def pytorchcvs(name):
    with torch.device("meta"):
        return pytorchcv_model(name)


@pytest.mark.parametrize(
    ("package", "build", "name"),
    [
        ("timm", timms, "inception_resnet_v2"),
        ("timm", timms, "mobilenetv1_100"),
        ("torchvision", torchvisions, "resnext101_64x4d"),
        ("pytorchcv", pytorchcvs, "bninception"),
        ("pytorchcv", pytorchcvs, "shufflenet_g3_w1"),
    ],
)
def test_foreign_networks_cost_what_is_published(package, build, name):
    row = PUBLISHED[package, name]
    counted = cost(build(name), int(row["native_size"]))
    assert counted.parameters == int(row["params"])
    assert counted.multiply_adds == int(row["macs_native"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ours", "build", "theirs"),
    [
        ("se_resnet50", timms, "legacy_seresnet50"),
        ("senet154", timms, "legacy_senet154"),
        ("resnet50b", torchvisions, "resnet50"),
        ("vgg16_bn", torchvisions, "vgg16_bn"),
        ("se_resnet110", pytorchcvs, "seresnet110_cifar10"),
    ],
)
def test_every_number_is_that_of_another_package(ours, build, theirs):
    mine, other = cost(ours), cost(build(theirs), 32 if ours == "se_resnet110" else 224)
    # Others write SE's two layers as 1x1 convolutions.
    assert other.multiply_adds == mine.multiply_adds
    assert replace(other, convolution=0, fully_connected=0) == replace(mine, convolution=0, fully_connected=0)


def test_a_name_or_a_side_is_enough():
    expected = cost("se_resnet50")
    assert (expected.parameters, expected.multiply_adds) == (28_088_024, 3_860_488_192)
    assert cost("se_resnet50", 224) == cost(meta("se_resnet50"), (3, 224, 224)) == expected
    assert cost("resnet8", (1, 32, 32)) == cost(meta("resnet8", in_channels=1))
    assert cost(meta("resnet8"), 40).convolution > cost(meta("resnet8")).convolution
    assert cost(SqueezeExcitation(16), (16, 2, 2)).scaling == 64


def test_a_foreign_network_is_left_as_it_was():
    model = import_timm().create_model("legacy_seresnet18")
    model.layer4.eval()
    modes = [module.training for module in model.modules()]
    before = copy.deepcopy(model.state_dict())
    counted = cost(model, 64)
    assert counted.parameters == parameter_count(model)
    assert counted.bytes == byte_count(model)
    assert [module.training for module in model.modules()] == modes
    assert True in modes and False in modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.device.type == "cpu" and p.grad is None for p in model.parameters())
    assert torch.is_grad_enabled()


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_a_wrapped_network_costs_the_same():
    model = create_network("se_resnet8").eval()
    expected = cost(model)
    image = torch.zeros(1, 3, 32, 32)
    assert cost(nn.DataParallel(model), 32) == expected
    assert cost(torch.jit.trace(model, image), 32) == expected
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert cost(compiled, 32) == expected
    # It raises where nothing would be compiled any more.
    assert torch.equal(compiled(image), model(image))


class NeedsValues(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12, 5)
        self.norm = nn.BatchNorm1d(5)

    def forward(self, x):
        return self.norm(self.fc(x.flatten(1))) if x.sum().item() == 0 else x


def test_a_network_that_cannot_run_without_values_runs_on_its_own():
    model = NeedsValues()
    counted = cost(model, (3, 2, 2))
    assert counted == Cost(parameters=75, fully_connected=60, activations=5, bytes=byte_count(model))
    assert model.training and model.norm.num_batches_tracked == 0
    with pytest.raises(SenetError, match=r"NeedsValues cannot run on an image of \(3, 2, 2\): "):
        cost(NeedsValues().to("meta"), 2)


class Remembers(nn.Linear):
    seen = "nothing"

    def forward(self, x):
        self.seen = x.device.type, self.weight.device.type, torch.is_grad_enabled(), self.training
        return super().forward(x)


def test_a_network_runs_where_nothing_is_computed():
    model = Remembers(4, 4)
    assert cost(model, (3, 2, 4)).fully_connected == 3 * 2 * 4 * 4
    assert model.seen == ("meta", "meta", False, False)
    assert model.weight.device.type == "cpu" and model.training


def test_an_image_a_foreign_network_cannot_see_is_one_sentence():
    with pytest.raises(SenetError, match=r"Sequential cannot run on an image of \(3, 4, 4\): ") as refused:
        cost(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), 4)
    assert "\n" not in str(refused.value)


def test_a_layer_somebody_replaced_is_traced():
    model = meta("resnet8")
    model.avgpool = nn.Sequential(nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool2d(1))
    larger_maps = cost("resnet8").pooling * 4
    assert cost(model) == replace(cost("resnet8"), pooling=larger_maps)


def test_printed_it_can_be_read():
    text = str(cost("se_resnet50")).splitlines()
    assert text[0].split() == ["parameters", "28,088,024"]
    assert text[1].split()[:2] == ["multiply-adds", "3,860,488,192"]
    assert text[-1].startswith("For one image. One multiply-add per weight and output position;")
    assert all(len(line) <= 125 for line in text)
    for name, unit in (("pooling", "values read"), ("scaling", "multiplications"), ("size", "bytes")):
        (line,) = (each for each in text if each.strip().startswith(name))
        assert line.endswith(unit)
    # The numbers end in one column.
    assert len({line.rindex(",") for line in text[:-1]}) == 1
    assert str(Cost()).count(" 0 ") == 8


@pytest.mark.slow
def test_networks_by_name_take_neither_memory_nor_time():
    # torch's optional compiler is what takes the time: drawing a random value on the meta device loads it.
    script = (
        "import resource, sys\nimport torch, senet\nbefore = resource.getrusage(resource.RUSAGE_SELF)\n"
        "senet.cost('vgg19_bn'); senet.cost('senet154')\n"
        "after = resource.getrusage(resource.RUSAGE_SELF)\n"
        "assert 'torch._dynamo' not in sys.modules\n"
        "assert after.ru_maxrss - before.ru_maxrss < 100_000, 'more than 100 MB'"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_sizes_that_make_no_sense_are_refused():
    with pytest.raises(SenetError, match="The input size of a Linear"):
        cost(nn.Linear(1, 1))
    for size in ((3, 0, 5), 0, (3, 5), (3.0, 5, 5), -1):
        with pytest.raises(
            SenetError, match=r"input size must be (a whole number of at least 1|the side of an image)"
        ):
            cost(nn.Linear(1, 1), size)
    with pytest.raises(SenetError, match="vgg16_bn; the smallest possible are 32×32"):
        cost("vgg16_bn", 31)
    with pytest.raises(SenetError, match="takes 3 channels, not 4"):
        cost(meta("resnet8"), (4, 32, 32))
    with pytest.raises(SenetError, match="no network called"):
        cost("vgg12", 224)
