import torch

from senet.blocks import SEConfig
from senet.blocks.inception import InceptionModule
from tests.references import randomise


def test_se_weighs_the_concatenated_branches():
    module = InceptionModule(24, (16, 8, 24, 4, 12, 12), se=SEConfig())
    randomise(module)
    module.eval()
    x = torch.randn(2, 24, 7, 5)
    branches = [module.branch1(x), module.branch2(x), module.branch3(x), module.branch4(x)]
    assert [b.shape[1] for b in branches] == [16, 24, 12, 12]
    assert module.se.channels == module.out_channels == 64
    assert torch.equal(module(x), module.se(torch.cat(branches, 1)))
    assert module.cost((24, 7, 5))[1] == (64, 7, 5)
