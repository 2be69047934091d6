import copy
import dataclasses
import pickle

import pytest
import torch

from senet.errors import SenetError
from senet.networks import create_network, network_spec
from senet.networks.build import build_network
from tests.references import randomise

NAMES = ["se_resnet18", "se_resnet50", "resnet50b", "resnext50_32x4d", "vgg11_bn", "se_googlenet", "resnet8"]


def meta(name):
    with torch.device("meta"):
        return create_network(name, num_classes=5)


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_input_is_the_smallest_that_runs(name):
    model = meta(name).eval()
    side = model.smallest_input
    for shape in ((side, side), (side, side + 3), (side + 2, side)):
        assert model(torch.empty(1, 3, *shape, device="meta")).shape == (1, 5)
    if side > 1:
        for shape in ((side - 1, side), (side + 9, side - 1)):
            with pytest.raises(SenetError, match=f"too small for .* are {side}×{side}: use larger images"):
                model(torch.empty(1, 3, *shape, device="meta"))
            with pytest.raises(
                SenetError, match=f"is reduced to nothing at .* the smallest possible are {side}"
            ):
                model.cost((3, *shape))
            # torch's own layers agree that it cannot be done.
            model.smallest_input = 1
            with pytest.raises(RuntimeError):
                model(torch.empty(1, 3, *shape, device="meta"))
            model.smallest_input = side


def test_the_layer_that_leaves_no_pixel_is_named():
    with pytest.raises(SenetError, match=r"An input of 2×2 pixels is .*at maxpool of resnet50; the"):
        meta("resnet50").cost((3, 2, 2))
    with pytest.raises(SenetError, match="is reduced to nothing at pool4 of vgg11_bn"):
        meta("vgg11_bn").cost((3, 15, 40))


def test_known_smallest_inputs():
    smallest = {name: meta(name).smallest_input for name in ("resnet50", "resnet50b", "resnet8", "vgg11_bn")}
    assert smallest == {"resnet50": 3, "resnet50b": 1, "resnet8": 1, "vgg11_bn": 32}


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 1, 32, 32), (2, 32, 32, 3), (2, 3, 32)])
def test_what_is_not_a_batch_of_its_images_is_refused(shape):
    with pytest.raises(
        SenetError, match=r"resnet8 expects images of shape \(N, 3, height, width\), not a tensor"
    ):
        meta("resnet8")(torch.empty(shape, device="meta"))


SHORT = {
    "basic": network_spec("se_resnet8"),
    "bottleneck": dataclasses.replace(network_spec("se_resnet50"), depths=(1, 1, 1, 1)),
    "inception": dataclasses.replace(network_spec("se_googlenet"), modules=(("3a", (16, 8, 16, 4, 8, 8)),)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_compiles_as_one_graph(name):
    model = build_network(SHORT[name])
    randomise(model)
    model.eval()
    x = torch.randn(2, 3, 32, 32)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert torch.allclose(compiled(x), model(x), atol=1e-4)


def test_exports_for_any_batch_and_size():
    model = create_network("se_resnet8")
    randomise(model)
    model.eval()
    auto = torch.export.Dim.AUTO
    dynamic = {"x": {0: auto, 2: auto, 3: auto}}
    program = torch.export.export(model, (torch.randn(2, 3, 32, 40),), dynamic_shapes=dynamic)
    x = torch.randn(3, 3, 24, 32)
    assert torch.allclose(program.module()(x), model(x), atol=1e-5)


def test_copies_compute_the_same():
    model = create_network("se_resnet8").eval()
    x = torch.randn(2, 3, 16, 16)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x), model(x))
        assert twin.spec == model.spec


def test_an_empty_batch_gives_no_scores():
    assert create_network("se_resnet8").eval()(torch.empty(0, 3, 32, 32)).shape == (0, 10)
