"""What does training minimize? One file for each loss, with its own options; `LOSSES` names them."""

from models.losses.cross_entropy import CrossEntropy
from models.losses.dice import Dice
from models.losses.focal import Focal
from models.losses.loss import Loss, PixelLoss, RegionLoss
from models.losses.lovasz_softmax import LovaszSoftmax

__all__ = ["LOSSES", "Loss", "PixelLoss", "RegionLoss"]

LOSSES: dict[str, type[Loss]] = {
    "cross_entropy": CrossEntropy,
    "focal": Focal,
    "dice": Dice,
    "lovasz_softmax": LovaszSoftmax,
}
