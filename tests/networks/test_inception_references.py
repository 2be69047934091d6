"""Scores, gradients and statistics of the Inception twins against other packages' networks.

pytorchcv's SE is hooked into them.
"""

import dataclasses
import importlib

import pytest
import torch
from torch import nn

from senet.blocks import SEConfig
from senet.networks import network_spec
from senet.networks.build import build_network
from senet.weights.fold import fold_biases
from senet.weights.keymaps import inception as keymaps
from tests.networks.short import se_blocks
from tests.networks.test_inception import BN_SITES, GOOGLENET_SITES, V3_SITES
from tests.references import (
    import_timm,
    import_torchvision,
    pytorchcv_model,
    randomise,
    relative_difference,
)

BN_UNITS = [f"features.stage{s}.unit{u}" for s, n in ((1, 2), (2, 5), (3, 3)) for u in range(1, n + 1)]


def hook_se(theirs, sites, channels):
    """Let pytorchcv's SE weigh what modules of ``theirs`` put out, and return the blocks by our names."""
    make = importlib.import_module("pytorchcv.models.common.att").SEBlock
    blocks = nn.ModuleDict()
    for ours, their in sites.items():
        block = make(channels[ours], use_conv=False)
        theirs.get_submodule(their).register_forward_hook(lambda _, __, y, block=block: block(y))
        blocks[ours.replace(".", "/")] = block  # A name in a ModuleDict has no dots.
    return blocks


def filled(model, seed=0):
    """Give a network that was built without memory random weights in float64."""
    model.to_empty(device="cpu").double()
    for name, buffer in model.named_buffers():
        if name.endswith("num_batches_tracked"):
            buffer.zero_()
    randomise(model, seed)


def torchvision_googlenet():
    options = {"aux_logits": False, "init_weights": False, "transform_input": False, "dropout": 0.0}
    return import_torchvision().models.googlenet(**options), {site: site for site in GOOGLENET_SITES}


def torchvision_v3():
    options = {"aux_logits": False, "init_weights": False, "transform_input": False, "dropout": 0.0}
    return import_torchvision().models.inception_v3(**options), {site: site for site in V3_SITES}


def pytorchcv_bn_inception():
    model = pytorchcv_model("bninception")
    model.features.final_pool = nn.AdaptiveAvgPool2d(1)  # Theirs is fixed to maps of 7x7 pixels.
    return model, dict(zip(BN_SITES, BN_UNITS, strict=True))


def timm_inception_resnet():
    """Return timm's with 2, 1 and 2 units; theirs has no dropout by default."""
    model = import_timm().create_model("inception_resnet_v2")
    model.repeat, model.repeat_1, model.repeat_2 = model.repeat[:2], model.repeat_1[:1], model.repeat_2[:1]
    units = ("repeat.0", "repeat.1", "repeat_1.0", "repeat_2.0", "block8")
    modules = ("mixed_5b", "mixed_6a", "mixed_7a")
    return model, {unit: f"{unit}.conv2d" for unit in units} | {module: module for module in modules}


def article_from_parts():
    """Return timm's stem of Inception-v4 and pytorchcv's units, 1 per stage, with the article's widths."""
    import_torchvision()
    units = importlib.import_module("pytorchcv.models.inceptionresnetv1")
    norm = importlib.import_module("pytorchcv.models.common.norm").lambda_batchnorm2d(eps=1e-3)
    model = nn.Sequential(
        *import_timm().create_model("inception_v4").features[:6],
        units.InceptionAUnit(384, [32, 32, 32, 32, 48, 64], norm),
        units.ReductionAUnit(384, [384, 256, 256, 384], norm),
        units.InceptionBUnit(1152, [192, 128, 160, 192], norm),
        units.ReductionBUnit(1152, [256, 384, 256, 288, 256, 288, 320], norm),
        units.InceptionCUnit(2144, [192, 192, 224, 256], norm),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2144, 1000),
    )
    return model, {"repeat.0": "6.conv", "repeat_1.0": "8.conv", "repeat_2.0": "10.conv"}


def short(name, *depths):
    return dataclasses.replace(network_spec(name), depths=depths)


# A reference, our name for each of its keys (None: both list them in the same order), our spec and its SE.
CASES = {
    "googlenet": (torchvision_googlenet, keymaps.from_torchvision, network_spec("googlenet"), "standard"),
    "inception_v3": (torchvision_v3, keymaps.from_torchvision, network_spec("inception_v3"), "standard"),
    "bn_inception": (
        pytorchcv_bn_inception,
        keymaps.from_pytorchcv_bn_inception,
        network_spec("bn_inception"),
        "standard",
    ),
    "inception_resnet_v2": (
        timm_inception_resnet,
        keymaps.from_timm,
        short("inception_resnet_v2", 2, 1, 2),
        "all",
    ),
    "inception_resnet_v2_article": (
        article_from_parts,
        None,
        short("inception_resnet_v2_article", 1, 1, 1),
        "standard",
    ),
}


def pair(case):
    """Return our twin, the reference with its SE blocks, and what names its tensors as ours."""
    reference, keymap, spec, units = CASES[case]
    with torch.device("meta"):
        theirs, sites = reference()
        ours = build_network(dataclasses.replace(spec, dropout=0.0, se=SEConfig(units=units)))
        channels = {name.removesuffix(".se"): block.channels for name, block in se_blocks(ours).items()}
        blocks = hook_se(theirs, sites, channels)
    filled(theirs)
    filled(blocks, 1)
    plain = [key for key in ours.state_dict() if ".se." not in key]
    theirs_keys = list(theirs.state_dict())
    keys = {key: keymap(key) for key in theirs_keys} if keymap else dict(zip(theirs_keys, plain, strict=True))

    def named(tensors_of):
        found = {keys[key]: value for key, value in tensors_of(theirs)}
        for key, value in tensors_of(blocks):
            site, _, rest = key.partition(".")
            found[f"{site.replace('/', '.')}.se.{rest}"] = value
        return found

    return ours, theirs, named


def state_of(model):
    return model.state_dict().items()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_scores_gradients_and_statistics_of_the_twin_are_the_references(case):
    torch.manual_seed(0)
    ours, theirs, named = pair(case)
    state = {key: value.clone() for key, value in named(state_of).items()}
    ours.to_empty(device="cpu").double().load_state_dict(fold_biases(state, ours))
    # The last maps have 2x2 or 2x1 pixels.
    sides = (64, 32) if ours.spec.input_size == 224 else (107, 75)
    x = torch.randn(2, 3, *sides, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs.eval()(x)
        assert expected.std() > 1e-3
        assert relative_difference(ours.eval()(x), expected) < 1e-10
    for model in (theirs, ours):
        torch.nn.functional.cross_entropy(model.train()(x), torch.arange(2)).backward()
    gradients = {key: value.grad for key, value in named(nn.Module.named_parameters).items()}
    for key, parameter in ours.named_parameters():
        assert relative_difference(parameter.grad, gradients[key]) < 1e-6, key
        assert parameter.grad.any(), key
    state = fold_biases(named(state_of), ours)
    for key, value in state_of(ours):
        assert torch.allclose(value, state[key], rtol=1e-9), key
