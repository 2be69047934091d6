"""Preprocessing against torchvision's and timm's transforms on the same pictures."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from senet.errors import SenetError
from senet.networks import create_network, network_spec
from senet.networks.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from tests.references import import_timm, import_torchvision

# Odd and even on either side, so that both roundings of size and crop are met.
SIZES = [(301, 224), (224, 301), (500, 375), (333, 517), (97, 64), (256, 256), (640, 251), (250, 999)]


def picture(size, mode="RGB", seed=0):
    width, height = size
    rng = np.random.default_rng(seed)
    waves = np.add.outer(np.sin(np.arange(height) / 7), np.cos(np.arange(width) / 11))[..., None] * 60 + 128
    pixels = np.clip(waves + rng.normal(0, 25, (height, width, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def torchvisions(preprocess):
    transforms = pytest.importorskip("torchvision.transforms")
    return transforms.Compose(
        [
            transforms.Resize(
                preprocess.resize, transforms.InterpolationMode(preprocess.interpolation), antialias=True
            ),
            transforms.CenterCrop(preprocess.crop),
            transforms.ToTensor(),
            transforms.Normalize(preprocess.mean, preprocess.std),
        ]
    )


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("crop", "resize"), [(224, 256), (224, 235), (299, 333), (225, 256), (32, 32), (33, 36)]
)
def test_pictures_come_out_as_from_torchvision_to_the_bit(crop, resize, interpolation):
    import_torchvision()
    preprocess = Preprocess(crop=crop, resize=resize, interpolation=interpolation)
    theirs = torchvisions(preprocess)
    for number, size in enumerate(SIZES):
        image = picture(size, seed=number)
        assert torch.equal(preprocess(image), theirs(image)[None]), size


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("seresnet50", "ra2_in1k"),
        ("legacy_senet154", "in1k"),
        ("seresnext50_32x4d", "gluon_in1k"),
        ("resnet50", "a1_in1k"),
        ("resnet50", "a3_in1k"),
        ("inception_resnet_v2", "tf_in1k"),
    ],
)
def test_pictures_come_out_as_from_timm_to_the_bit(name, tag):
    timm = import_timm()
    config = timm.models.get_pretrained_cfg(f"{name}.{tag}").to_dict()
    data = timm.data.resolve_data_config(pretrained_cfg=config)
    theirs = timm.data.create_transform(**data)
    preprocess = Preprocess(
        crop=data["input_size"][1],
        resize=int(data["input_size"][1] / data["crop_pct"]),
        interpolation=data["interpolation"],
        mean=data["mean"],
        std=data["std"],
    )
    for size in SIZES:
        image = picture(size)
        assert torch.equal(preprocess(image), theirs(image)[None]), size


def test_bgr_from_0_to_255_is_torchvisions_in_another_order_and_scale():
    import_torchvision()
    plain = Preprocess(mean=(0, 0, 0), std=(1, 1, 1))
    caffe = Preprocess(channel_order="BGR", scale="0..255", mean=(104, 117, 128), std=(1, 1, 1))
    image = picture((300, 260))
    rgb = torchvisions(plain)(image)
    expected = rgb.flip(0) * 255 - torch.tensor([104.0, 117, 128]).view(3, 1, 1)
    assert torch.allclose(caffe(image)[0], expected, atol=1e-4)
    red = caffe(Image.new("RGB", (256, 256), (255, 0, 0)))
    assert red[0, :, 0, 0].tolist() == [-104, -117, 255 - 128]


def test_arrays_and_tensors_are_pictures_too():
    image = picture((130, 91))
    preprocess = Preprocess(crop=32, resize=36)
    expected = preprocess(image)
    pixels = np.asarray(image)
    assert expected.shape == (1, 3, 32, 32)
    assert expected.dtype == torch.float32
    assert expected.is_contiguous()
    assert torch.equal(preprocess(pixels), expected)
    assert torch.equal(preprocess(pixels[::-1].copy()[::-1]), expected)
    assert torch.equal(preprocess(torch.from_numpy(pixels.copy()).permute(2, 0, 1)), expected)
    grey = np.asarray(image.convert("L"))
    from_grey = preprocess(image.convert("L"))
    assert torch.equal(preprocess(grey), from_grey)
    assert torch.equal(preprocess(torch.from_numpy(grey.copy())[None]), from_grey)


def test_a_list_becomes_a_batch():
    images = [picture(size) for size in SIZES[:3]]
    preprocess = Preprocess(crop=48, resize=64)
    batch = preprocess(images)
    assert batch.shape == (3, 3, 48, 48)
    assert torch.equal(batch, torch.cat([preprocess(image) for image in images]))
    with pytest.raises(SenetError, match="empty list"):
        preprocess([])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"])
def test_pictures_of_any_mode(mode):
    image = picture((60, 50)).convert("RGB" if mode == "LAB" else mode)
    for channels, target in ((3, "RGB"), (1, "L")):
        preprocess = Preprocess(crop=32, resize=36).with_channels(channels)
        # As a training decodes: colours by way of RGB, whatever the network takes.
        seen = image if mode in ("1", "L", "LA") else image.convert("RGB")
        assert torch.equal(preprocess(image), preprocess(seen.convert(target)))


@pytest.mark.parametrize("mode", ["I", "I;16"])
def test_sixteen_bits_are_scaled_not_clipped(mode):
    grey = np.asarray(picture((60, 50), "L")).astype(np.int64)
    deep = Image.fromarray((grey * 257).astype(np.uint16 if mode == "I;16" else np.int32))
    assert deep.mode == mode
    preprocess = Preprocess(crop=32, resize=36)
    assert torch.equal(preprocess(deep), preprocess(grey.astype(np.uint8)))
    between = Image.fromarray(np.full((50, 60), 400, np.asarray(deep).dtype))  # 1.56 of 255
    assert torch.equal(preprocess(between), preprocess(np.full((50, 60), 2, np.uint8)))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.zeros((40, 40, 3), np.float32), "be uint8, from 0 to 255, not float32: preprocessing"),
        (torch.zeros(3, 40, 40), r"be uint8, from 0 to 255, not torch\.float32: preprocessing"),
        (torch.zeros(3, 40, 40, dtype=torch.bfloat16), r"not torch\.bfloat16"),
        (np.zeros((2, 40, 40, 3), np.uint8), r"1, 3 or .*shape \(2, 40, 40, 3\): give"),
        (np.zeros((40, 40, 2), np.uint8), r"of shape \(40, 40, 2\): give a"),
        (torch.zeros(40, 40, 3, dtype=torch.uint8), r"1, 3 or .*shape \(40, 3, 40\): give"),
        (np.zeros((0, 40, 3), np.uint8), r"1, 3 or .*shape \(0, 40, 3\): give"),
        (Image.new("F", (40, 40)), "floating-point"),
        (Image.fromarray(np.full((40, 40), 70000, np.int32)), "range from 70000 to 70000, but only"),
        ("cat.jpg", r"cat\.jpg does not exist: name an image file\."),
        (".", "is a folder"),
        ("/dev/zero", r"is not a regular file: name an image file\."),
        ("~nobodyofthisname/cat.jpg", "home folder of a user"),
        ("a\0b.png", "cannot be read|does not exist"),
        (b"GIF89a", "The image cannot be read as an image:"),
        (b"", "it is empty"),
        (7, "not a value of type int"),
        ([[1, 2], [3, 4]], "not a value of type list"),
        ({"image": 3}, "not a value of type dict"),
        (None, "not a value of type NoneType"),
    ],
)
def test_what_is_no_picture_is_refused(wrong, said):
    with pytest.raises(SenetError, match=said):
        Preprocess(crop=32, resize=36)(wrong)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"crop": 0}, "crop"),
        ({"crop": 300}, r"the crop, 300, not 256\."),
        ({"interpolation": "nearest"}, "bilinear, bicubic"),
        ({"channel_order": "BRG"}, "RGB, BGR"),
        ({"scale": "255"}, "0..1, 0..255"),
        ({"mean": (0.5,)}, "each of the 3 channels"),
        ({"std": (0.5, 0.5, 0)}, "above 0"),
        ({"mean": (0.5, float("nan"), 0)}, "must be a number, not nan"),
        ({"std": ("a", "b", "c")}, "must be a number, not 'a'"),
        ({"transform": "timm"}, "torchvision, senet"),
        ({"transform": "senet", "scale": "0..255"}, "choose the transform 'torchvision'"),
    ],
)
def test_values_that_are_not_allowed(values, said):
    with pytest.raises(SenetError, match=said):
        Preprocess(**values)
    with pytest.raises(SenetError, match="no field sharpness"):
        Preprocess.from_values({"sharpness": 1})


def test_the_default_follows_the_spec():
    photographs = Preprocess.of(network_spec("se_resnet50"))
    assert (photographs.crop, photographs.resize, photographs.labels) == (224, 256, None)
    assert (photographs.mean, photographs.std) == (IMAGENET_MEAN, IMAGENET_STD)
    small = Preprocess.of(network_spec("resnet20"))
    assert (small.crop, small.resize) == (32, 32)
    large = Preprocess.of(dataclasses.replace(network_spec("resnet18"), input_size=299))
    assert (large.crop, large.resize) == (299, 352)
    with torch.device("meta"):
        grey = create_network("resnet8", in_channels=1).preprocess
    assert grey.mean == (sum(IMAGENET_MEAN) / 3,)
    assert grey.channels == 1


def test_a_model_carries_it():
    model = create_network("se_resnet8").eval()
    image = picture((40, 37))
    assert model(model.preprocess(image)).shape == (1, 10)
    assert model.loaded is None
    assert copy.deepcopy(model).preprocess == model.preprocess
    assert pickle.loads(pickle.dumps(model)).preprocess == model.preprocess
    restored = Preprocess.from_values(dataclasses.asdict(model.preprocess))
    assert restored == model.preprocess


def test_other_numbers_of_channels_are_the_users_business():
    four = Preprocess().with_channels(4)
    assert four.mean == (*IMAGENET_MEAN, IMAGENET_MEAN[0])
    with pytest.raises(SenetError, match="takes 4"):
        four(picture((300, 300)))
