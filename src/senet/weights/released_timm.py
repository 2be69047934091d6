"""The checkpoints of timm on the Hugging Face Hub that fit networks of senet, in timm's own order.

Repository ``timm/<name>``, crop, shorter side before it and interpolation, as in timm's ``pretrained_cfg``
(timm 1.0.31; a test compares them). Imports no torch.
"""

from __future__ import annotations

from senet.networks.preprocess import IMAGENET_MEAN, IMAGENET_STD, WORDNET_ORDER, Interpolation, Preprocess

_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

_Statistics = tuple[tuple[float, ...], tuple[float, ...]]
_Row = tuple[str, int, int, Interpolation] | tuple[str, int, int, Interpolation, _Statistics]

_ROWS: tuple[_Row, ...] = (
    ("resnet18.a1_in1k", 224, 235, "bicubic"),
    ("resnet18.a2_in1k", 224, 235, "bicubic"),
    ("resnet18.a3_in1k", 160, 168, "bicubic"),
    ("resnet18.tv_in1k", 224, 256, "bilinear"),
    ("resnet18.fb_ssl_yfcc100m_ft_in1k", 224, 256, "bilinear"),
    ("resnet18.fb_swsl_ig1b_ft_in1k", 224, 256, "bilinear"),
    ("resnet18.gluon_in1k", 224, 256, "bicubic"),
    ("resnet34.a1_in1k", 224, 235, "bicubic"),
    ("resnet34.a2_in1k", 224, 235, "bicubic"),
    ("resnet34.a3_in1k", 160, 168, "bicubic"),
    ("resnet34.bt_in1k", 224, 256, "bicubic"),
    ("resnet34.ra4_e3600_r224_in1k", 224, 248, "bicubic", _HALF),
    ("resnet34.tv_in1k", 224, 256, "bilinear"),
    ("resnet34.gluon_in1k", 224, 256, "bicubic"),
    ("resnet50.a1_in1k", 224, 235, "bicubic"),
    ("resnet50.a1h_in1k", 176, 195, "bicubic"),
    ("resnet50.a2_in1k", 224, 235, "bicubic"),
    ("resnet50.a3_in1k", 160, 168, "bicubic"),
    ("resnet50.b1k_in1k", 224, 235, "bicubic"),
    ("resnet50.b2k_in1k", 224, 235, "bicubic"),
    ("resnet50.c1_in1k", 224, 235, "bicubic"),
    ("resnet50.c2_in1k", 224, 235, "bicubic"),
    ("resnet50.d_in1k", 224, 235, "bicubic"),
    ("resnet50.ram_in1k", 224, 256, "bicubic"),
    ("resnet50.am_in1k", 224, 256, "bicubic"),
    ("resnet50.ra_in1k", 224, 256, "bicubic"),
    ("resnet50.bt_in1k", 224, 256, "bicubic"),
    ("resnet50.tv_in1k", 224, 256, "bilinear"),
    ("resnet50.tv2_in1k", 176, 201, "bilinear"),
    ("resnet50.fb_ssl_yfcc100m_ft_in1k", 224, 256, "bilinear"),
    ("resnet50.fb_swsl_ig1b_ft_in1k", 224, 256, "bilinear"),
    ("resnet50.gluon_in1k", 224, 256, "bicubic"),
    ("resnet101.a1h_in1k", 224, 235, "bicubic"),
    ("resnet101.a1_in1k", 224, 235, "bicubic"),
    ("resnet101.a2_in1k", 224, 235, "bicubic"),
    ("resnet101.a3_in1k", 160, 168, "bicubic"),
    ("resnet101.tv_in1k", 224, 256, "bilinear"),
    ("resnet101.tv2_in1k", 176, 201, "bilinear"),
    ("resnet101.gluon_in1k", 224, 256, "bicubic"),
    ("resnet152.a1h_in1k", 224, 235, "bicubic"),
    ("resnet152.a1_in1k", 224, 235, "bicubic"),
    ("resnet152.a2_in1k", 224, 235, "bicubic"),
    ("resnet152.a3_in1k", 160, 168, "bicubic"),
    ("resnet152.tv_in1k", 224, 256, "bilinear"),
    ("resnet152.tv2_in1k", 176, 201, "bilinear"),
    ("resnet152.gluon_in1k", 224, 256, "bicubic"),
    ("seresnet50.a1_in1k", 224, 235, "bicubic"),
    ("seresnet50.a2_in1k", 224, 235, "bicubic"),
    ("seresnet50.a3_in1k", 160, 168, "bicubic"),
    ("seresnet50.ra2_in1k", 224, 256, "bicubic"),
    ("resnext50_32x4d.a1h_in1k", 224, 235, "bicubic"),
    ("resnext50_32x4d.a1_in1k", 224, 235, "bicubic"),
    ("resnext50_32x4d.a2_in1k", 224, 235, "bicubic"),
    ("resnext50_32x4d.a3_in1k", 160, 168, "bicubic"),
    ("resnext50_32x4d.ra_in1k", 224, 256, "bicubic"),
    ("resnext50_32x4d.tv_in1k", 224, 256, "bilinear"),
    ("resnext50_32x4d.tv2_in1k", 176, 201, "bilinear"),
    ("resnext50_32x4d.fb_ssl_yfcc100m_ft_in1k", 224, 256, "bilinear"),
    ("resnext50_32x4d.fb_swsl_ig1b_ft_in1k", 224, 256, "bilinear"),
    ("resnext50_32x4d.gluon_in1k", 224, 256, "bicubic"),
    ("resnext101_32x4d.fb_ssl_yfcc100m_ft_in1k", 224, 256, "bilinear"),
    ("resnext101_32x4d.fb_swsl_ig1b_ft_in1k", 224, 256, "bilinear"),
    ("resnext101_32x4d.gluon_in1k", 224, 256, "bicubic"),
    ("resnext101_64x4d.c1_in1k", 224, 235, "bicubic"),
    ("resnext101_64x4d.tv_in1k", 224, 256, "bilinear"),
    ("resnext101_64x4d.gluon_in1k", 224, 256, "bicubic"),
    ("seresnext50_32x4d.racm_in1k", 224, 256, "bicubic"),
    ("seresnext50_32x4d.gluon_in1k", 224, 256, "bicubic"),
    ("seresnext101_32x4d.gluon_in1k", 224, 256, "bicubic"),
    ("seresnext101_64x4d.gluon_in1k", 224, 256, "bicubic"),
    ("senet154.gluon_in1k", 224, 256, "bicubic"),
    ("vgg11_bn.tv_in1k", 224, 256, "bilinear"),
    ("vgg13_bn.tv_in1k", 224, 256, "bilinear"),
    ("vgg16_bn.tv_in1k", 224, 256, "bilinear"),
    ("vgg19_bn.tv_in1k", 224, 256, "bilinear"),
    ("inception_v3.tv_in1k", 299, 341, "bicubic", _HALF),
    ("inception_v3.tf_in1k", 299, 341, "bicubic", _HALF),
    ("inception_v3.tf_adv_in1k", 299, 341, "bicubic", _HALF),
    ("inception_v3.gluon_in1k", 299, 341, "bicubic"),
    ("inception_resnet_v2.tf_in1k", 299, 333, "bicubic", _HALF),
    ("inception_resnet_v2.tf_ens_adv_in1k", 299, 333, "bicubic", _HALF),
    ("mobilenetv1_100.ra4_e3600_r224_in1k", 224, 256, "bicubic", _HALF),
)


def timm_releases() -> dict[str, Preprocess]:
    """Return the preprocessing of each of timm's checkpoints, by ``<architecture>.<tag>``."""
    return dict(_release(*row) for row in _ROWS)


def _release(
    name: str,
    crop: int,
    resize: int,
    interpolation: Interpolation,
    statistics: _Statistics = (IMAGENET_MEAN, IMAGENET_STD),
) -> tuple[str, Preprocess]:
    mean, std = statistics
    return name, Preprocess(
        crop=crop, resize=resize, interpolation=interpolation, mean=mean, std=std, labels=WORDNET_ORDER
    )
