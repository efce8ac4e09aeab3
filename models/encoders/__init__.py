"""What looks at the image? One file for each encoder, with its own options; `ENCODERS` names them."""

from models.encoders.applications.resnet50 import ResNet50
from models.encoders.applications.vgg16 import VGG16
from models.encoders.encoder import Encoder, FeatureMaps
from models.encoders.plain import PlainEncoder

__all__ = ["ENCODERS", "Encoder", "FeatureMaps"]

ENCODERS: dict[str, type[Encoder]] = {
    "plain": PlainEncoder,
    "resnet50": ResNet50,
    "vgg16": VGG16,
}
