"""What encoders with published weights have in common: the option `encoder_weights`."""

from __future__ import annotations

import abc
import os
import tempfile
from typing import TYPE_CHECKING, Annotated, ClassVar

import pydantic

from data.base.errors import UserError
from data.base.files import is_remote, read_bytes
from models.encoders.encoder import Encoder, StartingWeights
from models.encoders.weights.files import FoundFile, KerasFile, PackagedFile

if TYPE_CHECKING:
    import keras

NAMES = ("auto", "imagenet", "none")


class PretrainedEncoder(Encoder):
    """An encoder whose weights were published, after training on ImageNet.

    Attributes:
      packaged: the file in the extra `pretrained`, if there is one.
      published: the file of `keras.applications`, if there is one.
      encoder_weights: from which weights training starts. `auto` takes ImageNet's if they are on this machine, and
        random ones otherwise; `imagenet` insists on them, and lets Keras download those that it publishes; `none` takes
        random ones; anything else is the path of a local file.
    """

    packaged: ClassVar[PackagedFile | None] = None
    published: ClassVar[KerasFile | None] = None

    encoder_weights: Annotated[str, pydantic.Field(min_length=1)] = "auto"

    @abc.abstractmethod
    def load_file(self, model: keras.Model, path: str) -> list[keras.layers.Layer]:
        """Loads a local file of weights into the encoder's layers of a whole model, and returns these layers.

        A first convolution over other channels than RGB gets `models.encoders.weights.channels.over_channels` of its
        filters.

        Raises:
          UserError: if the file is missing or holds other weights; it begins with `model.encoder_weights: PATH`.
        """

    @property
    def misfit(self) -> str:
        """Why ImageNet's weights do not fit these options; "" if they do."""
        return ""

    def starting_weights(self, *, download: bool = False) -> StartingWeights:
        """Looks for the weights that training starts from, on this machine.

        Args:
          download: lets Keras download what `encoder_weights: imagenet` does not find.

        Raises:
          UserError: if ImageNet's weights, or a file, are asked for and cannot be had.
        """
        if self.encoder_weights == "none":
            return StartingWeights("", "random weights")
        if self.encoder_weights not in NAMES:
            return StartingWeights(self.encoder_weights, f"the weights in {self.encoder_weights}")
        if self.encoder_weights == "auto":
            try:
                found, reason = self._find(), self.misfit or f"ImageNet's are not here; {self._how_to_get()}"
            except UserError as error:
                found, reason = None, str(error)
            if found is None or self.misfit:
                return StartingWeights("", f"random weights ({reason})")
        else:
            found = self._find() or (self._download() if download else None)
            if found is None:
                raise UserError(f"model.encoder_weights: ImageNet's weights are not here; {self._remedies()}")
        return StartingWeights(found.path, f"ImageNet's weights ({found.name})")

    def load_weights(self, model: keras.Model) -> list[keras.layers.Layer]:
        path = self.starting_weights(download=True).path
        if is_remote(path):
            with tempfile.TemporaryDirectory() as folder:
                copy = os.path.join(folder, os.path.basename(path))
                with open(copy, "wb") as file:
                    file.write(read_bytes(path))
                return self.load_file(model, copy)
        return self.load_file(model, path) if path else []

    def _find(self) -> FoundFile | None:
        for source in (self.packaged, self.published):
            found = source.find() if source else None
            if found is not None:
                return found
        return None

    def _download(self) -> FoundFile | None:
        try:
            return self.published.download() if self.published else None
        except UserError as error:
            raise UserError(f"{error}; {self._remedies()}") from error

    def _how_to_get(self) -> str:
        if self.packaged:
            return self.packaged.remedy
        return "model.encoder_weights: imagenet downloads them" if self.published else "none were published"

    def _remedies(self) -> str:
        sources = [source.remedy for source in (self.packaged, self.published) if source]
        return ", or ".join([*sources, "write model.encoder_weights: none to start from random weights"])


def require_file(path: str) -> None:
    """Raises a UserError if there is no file at a path that `encoder_weights` names."""
    if not os.path.isfile(path):
        raise UserError(
            f"model.encoder_weights: there is no file {path}; correct the path, or take auto, imagenet or none"
        )
