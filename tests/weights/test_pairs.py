"""Other packages' networks with random weights, by way of a file, into ours: the same scores.

`docs/conversions.md` has all pairs at full depth; `tools/conversion_matrix.py` makes it.
"""

import dataclasses
import functools

import pytest
import torch

import senet
from senet.errors import SenetError
from senet.networks import list_models, network_spec, plain_name
from senet.networks.build import build_network
from senet.weights.checkpoint import Checkpoint
from senet.weights.identify import fit_or_refuse, fitting_networks
from senet.weights.known import KNOWN
from senet.weights.packages import NAMINGS, namings_of
from tests.references import pytorchcv_model, randomise, relative_difference
from tests.weights.pairs import PAIRS, gradient_difference, loaded, pair_of, scores

pytestmark = pytest.mark.slow

# One of each way of naming and computing, as shallow as there is.
SHALLOW = [
    ("torchvision", "resnet18"),
    ("torchvision", "googlenet"),
    ("timm", "seresnet18"),
    ("timm", "legacy_seresnet50"),
    ("timm", "mobilenetv1_100"),
    ("pretrainedmodels", "resnet18"),
    ("pretrainedmodels", "bninception"),
    ("pytorchcv", "resnet50"),
    ("pytorchcv", "resnet20_cifar10"),
    ("pytorchcv", "seresnet20_cifar10"),
    ("pytorchcv", "mobilenet_w1"),
    ("pytorchcv", "shufflenet_g3_w1"),
    ("moskomule", "se_resnet20"),
]
WITH_GRADIENTS = {"seresnet18", "bninception", "seresnet20_cifar10", "se_resnet20"}
# Tensors alone are compared here.
DEEP = [
    ("timm", "senet154"),
    ("timm", "seresnext101_64x4d"),
    ("timm", "vgg19_bn"),
    ("pretrainedmodels", "senet154"),
    ("pretrainedmodels", "cafferesnet101"),
    ("pretrainedmodels", "vgg13_bn"),
    ("pretrainedmodels", "inceptionresnetv2"),
    ("pytorchcv", "senet154"),
    ("pytorchcv", "sepreresnet110_cifar10"),
    ("pytorchcv", "bn_vgg16b"),
    ("moskomule", "se_resnet101"),
    ("torchvision", "vgg16_bn"),
]


@pytest.mark.parametrize("name", SHALLOW, ids="-".join)
def test_scores_are_the_references(name, tmp_path):
    pair = pair_of(*name)
    theirs = pair.build()
    randomise(theirs)
    ours = loaded(theirs, pair, tmp_path).double().eval()
    theirs.double().eval()
    x = torch.randn(2, 3, pair.side, pair.side + 32, dtype=torch.float64)
    with torch.no_grad():
        expected = scores(theirs, x)
        assert expected.std() > 1e-3
        assert relative_difference(ours(x), expected) < 1e-10
    assert ours.loaded.new == ()
    said = " ".join(ours.loaded.changes)
    assert ("convolution biases folded into the following BatchNorms" in said) == (name[1] == "bninception")
    if pair.reference in WITH_GRADIENTS:
        x = torch.randn(4, 3, pair.side, pair.side, dtype=torch.float64)
        assert gradient_difference(ours, theirs, x) < 1e-10
    assert ours.loaded.dropped == tuple(key for key in theirs.state_dict() if key.lower().startswith("aux"))


@functools.cache
def hollow(pair):
    """Return the checkpoint of a network without the memory it would take."""
    with torch.device("meta"):
        state = pair.build().state_dict()
    zero = torch.zeros(())
    return Checkpoint(
        state={key: zero.expand(value.shape) for key, value in state.items()}, source="file.pth"
    )


@pytest.mark.parametrize("name", DEEP, ids="-".join)
def test_deep_networks_have_our_tensors(name):
    pair = pair_of(*name)
    fitted = fit_or_refuse(hollow(pair), network_spec(pair.network))
    assert not fitted.is_plain
    assert fitted.spec.num_classes == (10 if "cifar" in pair.reference else 1000)
    assert fitted.spec.name == plain_name(pair.network)


@pytest.mark.parametrize(
    "name",
    [
        ("torchvision", "resnet50"),
        ("timm", "seresnet50"),
        ("timm", "senet154"),
        ("timm", "legacy_seresnet50"),
        ("pretrainedmodels", "resnet50"),
        ("pretrainedmodels", "cafferesnet101"),
        ("pretrainedmodels", "senet154"),
        ("pytorchcv", "seresnet50"),
        ("moskomule", "se_resnet50"),
    ],
    ids="-".join,
)
def test_the_max_pool_is_the_references(name):
    pair = pair_of(*name)
    with torch.device("meta"):
        pool = next(each for each in pair.build().modules() if isinstance(each, torch.nn.MaxPool2d))
    assert (pool.kernel_size, pool.stride, bool(pool.padding)) == (3, 2, not pool.ceil_mode)
    for asked in ("ceil", "padded"):
        spec = dataclasses.replace(network_spec(pair.network), pool=asked)
        assert fit_or_refuse(hollow(pair), spec).spec.pool == ("ceil" if pool.ceil_mode else "padded")


@pytest.mark.parametrize(
    ("package", "reference", "names"),
    [
        ("pytorchcv", "seresnet50b", ["se_resnet50", "se_resnet50b"]),
        ("pytorchcv", "seresnet20_cifar10", ["se_resnet20"]),
        ("pytorchcv", "sepreresnet110_cifar10", ["se_preresnet110"]),
        ("timm", "mobilenetv1_100", ["mobilenet_relu6"]),
        ("pretrainedmodels", "bninception", ["bn_inception"]),
        ("pretrainedmodels", "resnet50", ["resnet50", "resnet50b"]),
    ],
)
def test_the_network_is_found_by_the_tensors(package, reference, names):
    checkpoint = hollow(pair_of(package, reference))
    namings = namings_of(checkpoint)
    assert all(package in naming.packages for naming in namings)
    assert list(fitting_networks(checkpoint, namings)) == names


@pytest.mark.parametrize("package", ["timm", "pretrainedmodels", "pytorchcv"])
def test_stems_of_three_convolutions(package, tmp_path):
    # Tensors alone do not tell two of their BatchNorms apart; one unit in each stage shows it.
    pair = pair_of(package, "senet154")
    with torch.device("meta"):
        theirs = pair.build()
    for number in range(1, 5):
        stage = f"features.stage{number}" if package == "pytorchcv" else f"layer{number}"
        theirs.set_submodule(stage, theirs.get_submodule(stage)[:1])
    theirs.to_empty(device="cpu")
    randomise(theirs)
    torch.save(theirs.state_dict(), tmp_path / "file.pth")
    pool = "ceil" if package == "pretrainedmodels" else "padded"
    ours = build_network(dataclasses.replace(network_spec("senet154"), depths=(1, 1, 1, 1), pool=pool))
    senet.load_weights(ours, tmp_path / "file.pth")
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = theirs.eval()(x)
        assert expected.std() > 1e-3
        assert relative_difference(ours.eval()(x), expected) < 1e-5


def test_every_known_network_is_one_of_ours():
    names = {network for networks in KNOWN.values() for network in networks.values()}
    assert names <= set(list_models())
    assert {pair.package for pair in PAIRS} == set(KNOWN)
    packages = {package for naming in NAMINGS for package in naming.packages}
    assert packages == set(KNOWN)


def test_pytorchcvs_shake_shake_loads_into_a_network_of_its_width(tmp_path):
    theirs = pytorchcv_model("shakeshakeresnet26_2x32d_cifar10")
    randomise(theirs)
    torch.save(theirs.state_dict(), tmp_path / "file.pth")
    spec = dataclasses.replace(network_spec("shakeshake26_2x96d"), outputs=(32, 64, 128), activation="post")
    ours = build_network(spec).eval()
    report = senet.load_weights(ours, tmp_path / "file.pth")
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert relative_difference(ours(x), theirs.eval()(x)) < 1e-5
    assert report.package == "pytorchcv"
    other = build_network(dataclasses.replace(spec, activation="pre"))
    with pytest.raises(SenetError, match="needs activation='post', but this network has 'pre'"):
        senet.load_weights(other, tmp_path / "file.pth")
