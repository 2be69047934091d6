"""Sizes of networks that nobody here counted.

Parameters and multiply-adds at 224x224 (CIFAR: 32x32), for 1000 (CIFAR: 10) classes.
"""

from __future__ import annotations

# The authors' deploy files (github.com/hujie-frank/SENet), parsed: parameters, multiply-adds.
# The plain networks are the same files without their SE layers. timm's legacy_se* and
# pretrainedmodels agree to the last digit.
RELEASED = {
    "resnet50": (25_557_032, 3_857_973_248),
    "se_resnet50": (28_088_024, 3_860_488_192),
    "resnet101": (44_549_160, 7_570_194_432),
    "se_resnet101": (49_326_872, 7_574_937_600),
    "resnet152": (60_192_808, 11_282_415_616),
    "se_resnet152": (66_821_848, 11_288_993_792),
    "resnext50_32x4d": (25_028_904, 4_230_479_872),
    "se_resnext50_32x4d": (27_559_896, 4_232_994_816),
    "resnext101_32x4d": (44_177_704, 7_969_996_800),
    "se_resnext101_32x4d": (48_955_416, 7_974_739_968),
}

# timm 1.0 (resnet*, seresnet*), which torchvision and pytorchcv agree with.
STRIDE_IN_3X3 = {
    "resnet50b": (25_557_032, 4_089_184_256),
    "se_resnet50b": (28_088_024, 4_091_699_200),
    "resnet101b": (44_549_160, 7_801_405_440),
    "se_resnet101b": (49_326_872, 7_806_148_608),
    "resnet152b": (60_192_808, 11_513_626_624),
    "se_resnet152b": (66_821_848, 11_520_204_800),
}

# se_resnet18/34: timm's legacy_seresnet18/34, whose stem and units have the same sizes.
# vgg16_bn, googlenet: torchvision; their twins: torchvision's network with torch-built SE at the
# sites Section 3.3 names. resnet110: pytorchcv's (se)resnet110_cifar10.
OTHERS = {
    "se_resnet18": (11_778_592, 1_814_160_384),
    "se_resnet34": (21_958_868, 3_663_918_592),
    "vgg16_bn": (138_365_992, 15_470_264_320),
    "se_vgg16_bn": (138_596_784, 15_470_490_624),
    "googlenet": (6_624_904, 1_498_376_192),
    "se_googlenet": (7_105_007, 1_498_850_464),
    "resnet110": (1_730_714, 253_149_824),
    "se_resnet110": (1_744_952, 253_161_920),
}

PUBLISHED = RELEASED | STRIDE_IN_3X3 | OTHERS

# The paper's Section 6 on SE-ResNet-50 without FC biases, rebuilt from torchvision's network.
# Fields of SEConfig: (parameters, multiply-adds). Rounded to a tenth of a million and with BatchNorm's
# 53,120 running statistics added, the paper's Tables 10, 13 and 15 print the same (r=8 apart).
ABLATIONS: list[tuple[dict[str, object], tuple[int, int]]] = [
    ({"reduction": 2}, (45_676_584, 3_878_092_800)),
    ({"reduction": 4}, (35_616_808, 3_868_033_024)),
    ({"reduction": 8}, (30_586_920, 3_863_003_136)),
    ({"reduction": 16}, (28_071_976, 3_860_488_192)),
    ({"reduction": 32}, (26_814_504, 3_859_230_720)),
    ({"stages": (2,)}, (25_581_608, 3_857_997_824)),
    ({"stages": (3,)}, (25_688_104, 3_858_104_320)),
    ({"stages": (4,)}, (26_343_464, 3_858_759_680)),
    ({"stages": (2, 3, 4)}, (26_499_112, 3_858_915_328)),
    ({"placement": "conv3x3"}, (25_714_216, 3_858_130_432)),
    ({"placement": "pre"}, (27_548_200, 3_859_964_416)),
    ({"placement": "post"}, (28_071_976, 3_860_488_192)),
    ({"placement": "identity"}, (28_071_976, 3_860_488_192)),
]

# The same with FC biases.
ABLATIONS_WITH_BIAS = {2: 45_699_240, 4: 35_635_688, 8: 30_603_912, 16: 28_088_024, 32: 26_830_080}
