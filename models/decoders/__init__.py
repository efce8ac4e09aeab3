"""What turns an encoder's maps into classes? One file for each decoder, with its own options; `DECODERS` names them."""

from models.decoders.decoder import Decoder
from models.decoders.deeplab_v3_plus import DeepLabV3Plus
from models.decoders.segnet import SegNet
from models.decoders.unet import UNet

__all__ = ["DECODERS", "Decoder"]

DECODERS: dict[str, type[Decoder]] = {
    "unet": UNet,
    "segnet": SegNet,
    "deeplab_v3_plus": DeepLabV3Plus,
}
