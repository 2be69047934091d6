import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from senet.blocks.attached import attach
from senet.blocks.squeeze_excitation import SqueezeExcitation
from senet.errors import SenetError
from senet.insight.gates import gate_statistics
from senet.insight.labelled import LabelledImages
from senet.kernels.backends import kernels
from senet.networks.zoo import create_network
from tests.references import randomise


class Two(nn.Module):
    """The block that is named last runs first."""

    def __init__(self, **se):
        super().__init__()
        self.second = SqueezeExcitation(8, 2, **se)
        self.first = SqueezeExcitation(8, 4)
        self.idle = SqueezeExcitation(8, 2)

    def forward(self, x):
        return self.second(self.first(x)).mean((2, 3))


def labelled(x, batch=3):
    return DataLoader(TensorDataset(x, torch.zeros(len(x), dtype=torch.long)), batch_size=batch)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gates_by_hand(block, x):
    """Return (N, C), in numpy: Eq. 2 and 3."""
    w1, b1, w2, b2 = (
        each.detach().numpy() for each in (block.fc1.weight, block.fc1.bias, block.fc2.weight, block.fc2.bias)
    )
    z = x.mean((2, 3)) if x.ndim == 4 else x
    return sigmoid(np.maximum(z @ w1.T + b1, 0) @ w2.T + b2)


@pytest.mark.parametrize("batch", [1, 3, 7])
@pytest.mark.parametrize("mode", ["always", "reference"])
def test_mean_and_variance_are_those_of_all_gates_at_once(batch, mode):
    torch.manual_seed(0)
    model = Two().double()
    randomise(model)
    x = 2 * torch.randn(7, 8, 5, 4, dtype=torch.float64) + torch.randn(7, 8, 1, 1, dtype=torch.float64)
    with kernels(mode):
        first, second, idle = gate_statistics(model, labelled(x, batch))
    gates = gates_by_hand(model.first, x.numpy())
    np.testing.assert_allclose(first.mean.numpy(), gates.mean(0), rtol=1e-12)
    np.testing.assert_allclose(first.variance.numpy(), gates.var(0), rtol=1e-10, atol=1e-15)
    gates = gates_by_hand(model.second, x.numpy() * gates[:, :, None, None])
    np.testing.assert_allclose(second.mean.numpy(), gates.mean(0), rtol=1e-12)
    np.testing.assert_allclose(second.variance.numpy(), gates.var(0), rtol=1e-10, atol=1e-15)
    assert [each.block for each in (first, second, idle)] == ["first", "second", "idle"]
    assert (first.count, second.count, idle.count) == (7, 7, 0)
    assert first.variance.min() > 1e-6
    assert idle.mean.isnan().all()
    assert not first.per_pixel


def test_gates_of_pixels_are_taken_over_pixels():
    torch.manual_seed(0)
    model = Two(squeeze="none").double()
    x = torch.randn(4, 8, 3, 2, dtype=torch.float64)
    _, second, _ = gate_statistics(model, labelled(x))
    pixels = x.numpy() * gates_by_hand(model.first, x.numpy())[:, :, None, None]
    gates = gates_by_hand(model.second, pixels.transpose(0, 2, 3, 1).reshape(-1, 8))
    assert second.per_pixel
    assert second.count == 4 * 3 * 2
    np.testing.assert_allclose(second.mean.numpy(), gates.mean(0), rtol=1e-12)
    np.testing.assert_allclose(second.variance.numpy(), gates.var(0), rtol=1e-10)


def test_blocks_inside_fused_tails_and_attached_ones_are_seen():
    torch.manual_seed(0)
    network = create_network("se_resnet8")
    found = gate_statistics(network, labelled(torch.randn(4, 3, 32, 32)))
    assert [each.block for each in found] == ["layer1.0.se", "layer2.0.se", "layer3.0.se"]
    assert all(each.count == 4 and 0 < each.mean.min() <= each.mean.max() < 1 for each in found)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU())
    attach(model[0], SqueezeExcitation(8, 2), "after relu")
    (found,) = gate_statistics(model, labelled(torch.randn(4, 3, 5, 5)))
    assert (found.block, found.count) == ("0.se", 4)


def test_the_model_stays_as_it_was():
    torch.manual_seed(0)
    model = create_network("se_resnet8").train()
    model.layer2.eval()
    before = copy.deepcopy(model.state_dict())
    modes = [each.training for each in model.modules()]
    gate_statistics(model, labelled(torch.randn(4, 3, 32, 32)))
    with pytest.raises(SenetError, match="expects images of"):
        gate_statistics(model, labelled(torch.randn(4, 3)))
    assert modes == [each.training for each in model.modules()]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(each._forward_pre_hooks or each._forward_hooks for each in model.modules())
    assert all(each.grad is None for each in model.parameters())


def test_images_come_in_the_type_of_the_model():
    images = LabelledImages([(torch.ones(2, 3), torch.tensor([0, 1], dtype=torch.int32))], Two().half())
    (batch,) = images
    assert (batch[0].dtype, batch[1].dtype) == (torch.float16, torch.long)
    images = LabelledImages([(torch.ones(2, 3, dtype=torch.uint8), torch.tensor([0, 1]))], Two().half())
    assert images.first().dtype == torch.uint8


X, Y = torch.ones(2, 3), torch.tensor([0, 1])


class Failing:
    def __iter__(self):
        yield X, Y
        raise OSError("the disk is gone\nentirely")


@pytest.mark.parametrize(
    ("loader", "sentence"),
    [
        (3, "A int cannot be iterated over: give for example"),
        (iter([(X, Y)]), "can only be iterated over once"),
        ((pair for pair in [(X, Y)]), "A generator can only be iterated over once"),
        ([], "The list yields no images"),
        ([X], "Batch 0 is Tensor, not a pair"),
        ([(X, Y), (X, Y, Y)], "Batch 1 is 3 items, not a pair"),
        ([{"images": X}], "Batch 0 is dict, not a pair"),
        ([(X, [0, 1])], "Batch 0 holds a list, not tensors"),
        ([(X, Y.float())], r"float32 labels of shape \(2,\): give one class index"),
        ([(X, torch.tensor([0, 1, 1]))], r"images of shape \(2, 3\) and int64 labels of shape \(3,\)"),
        ([(X, Y[:, None])], "give one class index for each image"),
        (Failing(), "The Failing of images failed: the disk is gone$"),
    ],
)
def test_what_are_no_labelled_images_is_refused(loader, sentence):
    with pytest.raises(SenetError, match=sentence):
        list(LabelledImages(loader, Two()))


def test_other_images_in_the_next_pass_are_refused():
    class Augmenting:
        def __init__(self):
            self.noise = 0.0

        def __iter__(self):
            self.noise += 0.1
            yield X + self.noise, Y

    images = LabelledImages(Augmenting(), Two())
    list(images)
    with pytest.raises(SenetError, match="The Augmenting yields different images in every pass:"):
        list(images)


def test_another_order_is_as_good():
    data = TensorDataset(torch.randn(9, 3, 4, 4), torch.arange(9))
    images = LabelledImages(DataLoader(data, batch_size=4, shuffle=True), Two())
    for _ in range(5):
        assert sum(len(labels) for _, labels in images) == 9
