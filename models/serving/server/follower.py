"""Which version answers? The newest one that can be loaded."""

from __future__ import annotations

import logging
import threading

from data.base.errors import UserError, one_line
from data.base.files import FileInfo, UnreachableError, exists, find_below, join
from models.exports import SAVED_MODEL
from models.exports.runtimes import NoRuntimeError
from models.serving.loaded_model import LoadedModel
from models.serving.versions import GRAPH_FILE, NotAModelError, fingerprint, numbers, version_path

_LOG = logging.getLogger("segpipe.model_server")


class Follower:
    """Keeps the newest version at a push destination loaded; or a single SavedModel.

    A version that is incomplete or cannot be loaded is passed over until its files change, and the one before it stays.
    If the newest version is removed, the newest of those that remain is loaded again.

    Args:
      model: folder of numbered versions, or of a SavedModel.
      poll_seconds: time between two looks at the folder.
      runtime: as for `LoadedModel`; versions that come later and do not run in it are served by TensorFlow.

    Raises:
      UserError: if there is nothing to serve, or it does not run in that runtime.
    """

    def __init__(self, model: str, poll_seconds: float, runtime: str = SAVED_MODEL):
        self._destination, self._poll_seconds, self._runtime = model, poll_seconds, runtime
        # By version, its files at the time of the attempt: a copy may still have been going on.
        self._failed: dict[int, list[FileInfo]] = {}
        self._current: tuple[LoadedModel, list[FileInfo]] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="versions", daemon=True)
        if exists(join(model, GRAPH_FILE)):
            try:
                self._current = self._load(model, 1), []
            except NoRuntimeError:
                raise
            except Exception as error:
                raise UserError(f"{model} cannot be served: {one_line(error)}") from None
            return
        self._look()
        if self._current is None:
            raise UserError(
                f"{model} holds no model that can be served; a run whose model passes the gate says where it was pushed"
            )
        self._thread.start()

    @property
    def model(self) -> LoadedModel:
        """The one to answer with now."""
        assert self._current is not None
        return self._current[0]

    def stop(self) -> None:
        """Stops following the folder."""
        self._stopping.set()

    def _follow(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self._look()
            except Exception:  # A folder that is away for a moment must not end the following.
                _LOG.exception("cannot look for versions in %s", self._destination)

    def _look(self) -> None:
        for version in reversed(numbers(self._destination)):
            folder = version_path(self._destination, version)
            files = find_below(folder)  # Before the attempt, so that what arrives meanwhile leads to another one.
            if self._current and (self._current[0].version, self._current[1]) == (version, files):
                return
            if self._failed.get(version) == files:
                continue
            try:
                fingerprint(folder)
                self._current = self._load(folder, version), files
            except (UnreachableError, NoRuntimeError):  # The next look may reach it; and who asked for it is there.
                raise
            except Exception as error:
                if not (isinstance(error, NotAModelError) and version in self._failed):  # Not for each file that comes.
                    _LOG.error("version %d is passed over until its files change: %s", version, one_line(error))
                self._failed[version] = files
                continue
            self._failed.pop(version, None)
            return

    def _load(self, folder: str, version: int) -> LoadedModel:
        try:
            model = LoadedModel(folder, version, self._runtime)
        except NoRuntimeError as error:
            if self._current is None:
                raise
            _LOG.warning("version %d is served by TensorFlow: %s", version, error)
            model = LoadedModel(folder, version)
        for remark in model.runtime.remarks:
            _LOG.warning("version %d: %s", version, remark)
        _LOG.info("serving version %d as %s", version, model.runtime.describe())
        return model
