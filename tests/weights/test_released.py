"""The table of released checkpoints against what the packages themselves say."""

import csv
import math
from pathlib import Path

import pytest

import senet
from senet.errors import SenetError
from senet.weights.hub import timm_preprocess
from senet.weights.known import KNOWN, reference_in
from senet.weights.released import PACKAGE_TAGS, RELEASES, list_weights, release_of_file, release_of_tag
from tests.references import import_pretrainedmodels, import_timm, import_torchvision

RESULTS = Path(__file__).parents[2] / "docs" / "paper" / "results.csv"
BY_TAG = {release.tag: release for release in RELEASES}


def of_package(tag):
    return {name.removeprefix(f"{tag}/"): each for name, each in BY_TAG.items() if name.startswith(f"{tag}/")}


def test_torchvisions_files_are_those_it_names_itself():
    models = import_torchvision().models
    ours = of_package("torchvision")
    theirs = {}
    for name, network in KNOWN["torchvision"].items():
        enum = models.get_model_weights(name)
        members = sorted(enum, key=lambda each, enum=enum: each is not enum.DEFAULT)
        for each in members:
            theirs[f"{name}.{each.name}"] = each
            assert ours[f"{name}.{each.name}"].network == network
    assert list(ours) == list(theirs)
    for name, release in ours.items():
        transform, accuracy = theirs[name].transforms(), theirs[name].meta["_metrics"]["ImageNet-1K"]
        assert release.url == theirs[name].url
        assert (release.preprocess.crop,) == tuple(transform.crop_size)
        assert (release.preprocess.resize,) == tuple(transform.resize_size)
        assert release.preprocess.interpolation == transform.interpolation.value
        assert release.top1_error == pytest.approx(100 - accuracy["acc@1"])
        assert release.top5_error == pytest.approx(100 - accuracy["acc@5"])
        if not name.startswith(("googlenet", "inception")):
            assert list(release.preprocess.mean) == transform.mean
            assert list(release.preprocess.std) == transform.std


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_what_torchvisions_networks_do_to_images_themselves_is_in_our_preprocessing(name):
    import torch

    models = import_torchvision().models
    with torch.device("meta"):
        theirs = getattr(models, name)(transform_input=True, init_weights=False)
    (release,) = (each for tag, each in of_package("torchvision").items() if tag.startswith(name))
    transform = models.get_model_weights(name).DEFAULT.transforms()
    pixels = torch.rand(1, 3, 4, 4)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (transform.mean, transform.std))
    expected = theirs._transform_input((pixels - mean) / std)
    mean, std = (
        torch.tensor(each).view(1, 3, 1, 1) for each in (release.preprocess.mean, release.preprocess.std)
    )
    assert torch.allclose((pixels - mean) / std, expected, atol=1e-5)


def test_timms_checkpoints_are_those_it_names_itself():
    timm = import_timm()
    from timm.models._registry import _model_default_cfgs as configs

    theirs = {}
    for name in KNOWN["timm"]:
        for tag in configs[name].tags:
            config = configs[name].cfgs[tag]
            if config.has_weights and config.num_classes == 1000:
                theirs[f"{name}.{tag}"] = config
    ours = of_package("timm")
    assert set(ours) == set(theirs)
    for name, release in ours.items():
        config = theirs[name]
        assert release.network == KNOWN["timm"][name.split(".")[0]]
        if release.url is None:
            assert (release.repository, config.hf_hub_id) == (f"timm/{name}", "timm/")
        else:
            assert release.url == config.url
        found = release.preprocess
        assert found.crop == config.input_size[1]
        assert found.resize == math.floor(config.input_size[1] / config.crop_pct)
        assert (found.interpolation, found.mean, found.std) == (
            config.interpolation,
            config.mean,
            config.std,
        )
        assert timm_preprocess(config.to_dict()) == found, "as a repository's config.json tells it"
    assert timm.__version__


def test_the_first_of_timms_is_its_default():
    import_timm()
    from timm.models._registry import _model_default_cfgs as configs

    for network, tag in (("se_resnet50b", "seresnet50"), ("resnext50_32x4d", "resnext50_32x4d")):
        assert release_of_tag("timm", network).tag == f"timm/{tag}.{configs[tag].tags[0]}"


def test_cadenes_files_are_those_pretrainedmodels_names():
    settings = import_pretrainedmodels().pretrained_settings
    for name, release in of_package("cadene").items():
        theirs = settings[name]["imagenet"]
        found = release.preprocess
        assert release.url == theirs["url"]
        assert found.channel_order == theirs["input_space"]
        assert found.crop == theirs["input_size"][1]
        assert found.resize == math.floor(found.crop / 0.875)
        assert found.scale == f"0..{theirs['input_range'][1]}"
        assert (list(found.mean), list(found.std)) == (theirs["mean"], theirs["std"])


def test_errors_are_those_of_the_third_parties():
    with RESULTS.open() as file:
        rows = [row for row in csv.DictReader(file) if row["table"] == "third-party"]
    by_model = {(row["model"], row["variant"]): row for row in rows}
    names = {
        "se_resnet50": "SE-ResNet-50",
        "se_resnet101": "SE-ResNet-101",
        "se_resnet152": "SE-ResNet-152",
        "se_resnext50_32x4d": "SE-ResNeXt-50 32x4d",
        "se_resnext101_32x4d": "SE-ResNeXt-101 32x4d",
        "senet154": "SENet-154",
    }
    for name, model in names.items():
        legacy = f"{model} (legacy)" if name != "senet154" else f"{model} (legacy_senet154.in1k)"
        timm = f"timm/legacy_{name.replace('se_', 'se')}.in1k"
        for tag, row in (
            (f"cadene/{name}", by_model[model, "SE (released model, PyTorch port)"]),
            (timm, by_model[legacy, "SE (timm evaluation)"]),
        ):
            assert BY_TAG[tag].network == name
            assert BY_TAG[tag].top1_error == float(row["top1_err"])
            assert BY_TAG[tag].top5_error == float(row["top5_err"])


def test_list_weights():
    assert senet.list_weights("se_resnet50") == ["cadene/se_resnet50", "timm/legacy_seresnet50.in1k"]
    assert "timm/seresnet50.ra2_in1k" in senet.list_weights("se_resnet50b")
    assert senet.list_weights("se_vgg*") == []
    assert len(senet.list_weights()) == len(RELEASES) == len(BY_TAG)
    assert {tag.split("/")[0] for tag in list_weights()} == set(PACKAGE_TAGS)


@pytest.mark.parametrize(
    ("tag", "name", "expected"),
    [
        ("cadene", "se_resnet50", "cadene/se_resnet50"),
        ("cadene", "resnet101", "cadene/cafferesnet101"),
        ("cadene", "se_bn_inception", "cadene/bninception"),
        ("cadene", "se_resnext154_64x4d", "cadene/senet154"),
        ("torchvision", "resnet50b", "torchvision/resnet50.IMAGENET1K_V2"),
        ("torchvision", "se_resnet50b", "torchvision/resnet50.IMAGENET1K_V2"),
        ("timm", "se_resnet50b", "timm/seresnet50.a1_in1k"),
        ("timm", "se_resnet50", "timm/legacy_seresnet50.in1k"),
        ("timm", "senet154", "timm/senet154.gluon_in1k"),
        ("moskomule", "se_resnet50b", "moskomule/se_resnet50"),
        ("timm/seresnet50.ra2_in1k", "se_resnet50b", "timm/seresnet50.ra2_in1k"),
        ("torchvision/resnet18.IMAGENET1K_V1", "se_resnet18", "torchvision/resnet18.IMAGENET1K_V1"),
    ],
)
def test_tags(tag, name, expected):
    assert release_of_tag(tag, name).tag == expected


def test_tags_of_other_networks():
    assert release_of_tag("nobody/nothing", "resnet18") is None
    with pytest.raises(
        SenetError,
        match=r"cadene/se_resnet50 has weights of se_resnet50, not of se_resnet50b: create 'se_resnet50'\.",
    ):
        release_of_tag("cadene/se_resnet50", "se_resnet50b")
    with pytest.raises(
        SenetError, match=r"torchvision has no released weights of resnet50; .*Did you mean 'resnet50b'"
    ):
        release_of_tag("torchvision", "resnet50")


def test_published_files_are_recognised_by_their_names():
    for release in RELEASES:
        if release.file_name is not None:
            found = release_of_file(release.file_name)
            assert (found.network, found.preprocess) == (release.network, release.preprocess)
            reference = reference_in(release.file_name, release.package)
            assert reference is None or KNOWN[release.package][reference] == release.network
    assert release_of_file("mine.pth") is None


def test_every_name_tells_a_hash_but_one():
    assert [tag for tag, release in BY_TAG.items() if not release.hashed] == ["moskomule/se_resnet50"]


def test_the_table_needs_no_torch():
    import subprocess
    import sys

    code = "import senet, sys; senet.list_weights(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
