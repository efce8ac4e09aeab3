"""What can be configured about the model: an encoder, a decoder, and the options of both."""

from __future__ import annotations

from typing import Any, Literal

import pydantic
from pydantic_core import PydanticUndefined

from data.base.files import is_remote
from data.base.section import Section
from data.base.variants import check_options, find_variant
from models.decoders import DECODERS, Decoder
from models.encoders import ENCODERS, Encoder
from models.encoders.weights.pretrained import NAMES, require_file

# What is predicted: the class of each pixel, and beside it which object it belongs to.
Task = Literal["semantic", "instance", "panoptic"]

_FORMER_ARCHITECTURES = {
    "unet": "leave it out",
    "unet_resnet": "write encoder: resnet50",
    "segnet": "write encoder: vgg16 and decoder: segnet",
    "deeplab_v3_plus": "write encoder: resnet50 and decoder: deeplab_v3_plus",
}


class ModelSettings(Section):
    """The model. Further keys are options of the chosen encoder and decoder, described in their files.

    An option that both have goes to both, and its default is the encoder's.

    Attributes:
      encoder: a name in `models.encoders.ENCODERS`, or the import path of your own.
      decoder: a name in `models.decoders.DECODERS`, or the import path of your own.
    """

    model_config = pydantic.ConfigDict(extra="allow")

    encoder: str = "efficientnet_lite0"
    decoder: str = "unet"

    @pydantic.model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """Checks the options, and adds defaults of those that are left out."""
        if not isinstance(values, dict):
            return values
        if "architecture" in values:
            former = _FORMER_ARCHITECTURES.get(str(values["architecture"]), "write encoder and decoder")
            raise ValueError(f"the key architecture was removed; {former}")
        names = {key: values.get(key, cls.model_fields[key].default) for key in cls.model_fields}
        if not all(isinstance(name, str) for name in names.values()):
            return values  # Their own errors say so.
        options = {key: value for key, value in values.items() if key not in names}
        encoder_type, decoder_type = _types(names["encoder"], names["decoder"])
        defaults = _defaults(encoder_type, decoder_type)
        known = [*encoder_type.model_fields, *decoder_type.model_fields]
        for name in options:
            others = [encoder for encoder, kind in ENCODERS.items() if name in kind.model_fields]
            if "encoder" not in values and others and name not in known:
                raise ValueError(f"{name} is an option of encoder {' and '.join(others)}; write encoder: {others[0]}")
        check_options(options, list(dict.fromkeys(known)), f"encoder {names['encoder']} or decoder {names['decoder']}")
        encoder, decoder = (_section(kind, {**defaults, **options}) for kind in (encoder_type, decoder_type))
        decoder.check_encoder(encoder)
        return {**names, **decoder.model_dump(), **encoder.model_dump()}

    @property
    def chosen_encoder(self) -> Encoder:
        """The encoder with its options."""
        return _section(_types(self.encoder, self.decoder)[0], self.model_extra or {})

    @property
    def chosen_decoder(self) -> Decoder:
        """The decoder with its options."""
        return _section(_types(self.encoder, self.decoder)[1], self.model_extra or {})

    def for_input(self, height: int, width: int) -> ModelSettings:
        """The same model with those options decided that depend on the size of its input."""
        return self.model_copy(update=self.chosen_encoder.for_input(height, width).model_dump())

    @property
    def own_weights(self) -> str:
        """The path of the user's own file of pretrained weights; "" if the option `encoder_weights` names none."""
        option = str((self.model_extra or {}).get("encoder_weights", ""))
        return "" if option in NAMES else option

    def prepare_weights(self) -> None:
        """Makes sure that training can have the weights it starts from, and downloads them if that is asked for.

        Raises:
          UserError: if it cannot.
        """
        path = self.chosen_encoder.starting_weights(download=True).path
        if path and not is_remote(path):
            require_file(path)

    @property
    def smallest_input(self) -> int:
        """Pixels that height and width must have."""
        return self.chosen_encoder.smallest_input

    def size_problem(self, pixels: int) -> str:
        """Why an input of so many pixels, the smaller of height and width, cannot be used; "" if it can."""
        encoder = self.chosen_encoder
        least = encoder.smallest_input
        if pixels >= least:
            return ""
        problem = f"encoder {self.encoder} needs an input of at least {least} pixels each way, not {pixels}"
        return "; ".join(filter(None, (problem, encoder.remedy(pixels))))

    def without_defaults(self) -> dict[str, Any]:
        """Encoder, decoder, and the options that differ from their defaults.

        With another encoder or decoder, the other options take that one's defaults.
        """
        defaults = _defaults(*_types(self.encoder, self.decoder))
        options = {key: value for key, value in (self.model_extra or {}).items() if value != defaults.get(key)}
        return {"encoder": self.encoder, "decoder": self.decoder, **options}


def _types(encoder: str, decoder: str) -> tuple[type[Encoder], type[Decoder]]:
    return (
        find_variant(encoder, ENCODERS, Encoder, "encoder"),  # type: ignore[type-abstract]
        find_variant(decoder, DECODERS, Decoder, "decoder"),  # type: ignore[type-abstract]
    )


def _defaults(encoder: type[Encoder], decoder: type[Decoder]) -> dict[str, Any]:
    fields = {**decoder.model_fields, **encoder.model_fields}
    defaults = {name: field.get_default(call_default_factory=True) for name, field in fields.items()}
    return {name: default for name, default in defaults.items() if default is not PydanticUndefined}


def _section(kind: type[Any], options: dict[str, Any]) -> Any:
    return kind.model_validate({name: options[name] for name in kind.model_fields if name in options})
