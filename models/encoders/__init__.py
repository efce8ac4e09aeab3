"""What looks at the image? One file for each encoder, with its own options; `ENCODERS` names them."""

from models.encoders.applications.convnext_tiny import ConvNeXtTiny
from models.encoders.applications.efficientnet_v2 import (
    EfficientNetV2B0,
    EfficientNetV2B1,
    EfficientNetV2B2,
    EfficientNetV2B3,
    EfficientNetV2S,
)
from models.encoders.applications.mobilenet_v3_large import MobileNetV3Large
from models.encoders.applications.resnet50 import ResNet50
from models.encoders.applications.vgg16 import VGG16
from models.encoders.efficientnet_lite import EfficientNetLite0, EfficientNetLite1, EfficientNetLite2
from models.encoders.encoder import Encoder, FeatureMaps, StartingWeights
from models.encoders.plain import PlainEncoder

__all__ = ["ENCODERS", "Encoder", "FeatureMaps", "StartingWeights"]

ENCODERS: dict[str, type[Encoder]] = {
    "efficientnet_lite0": EfficientNetLite0,
    "efficientnet_lite1": EfficientNetLite1,
    "efficientnet_lite2": EfficientNetLite2,
    "plain": PlainEncoder,
    "resnet50": ResNet50,
    "vgg16": VGG16,
    "efficientnet_v2_b0": EfficientNetV2B0,
    "efficientnet_v2_b1": EfficientNetV2B1,
    "efficientnet_v2_b2": EfficientNetV2B2,
    "efficientnet_v2_b3": EfficientNetV2B3,
    "efficientnet_v2_s": EfficientNetV2S,
    "convnext_tiny": ConvNeXtTiny,
    "mobilenet_v3_large": MobileNetV3Large,
}
