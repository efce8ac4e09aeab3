"""The folder that a conversion writes to: what may be replaced, and how a finished conversion takes its place."""

from __future__ import annotations

import glob
import logging
import os
import shutil
import tempfile
import uuid

from data.base.errors import UserError
from data.base.files import copy_tree, delete, exists, find_folders, is_remote, join, list_files
from data.contract import LABEL_MAP_FILE, REPORT_FILE

_LOG = logging.getLogger("segpipe")
_LAST = (LABEL_MAP_FILE,)


def check_destination(destination: str, overwrite: bool) -> None:
    """Refuses to write where something is already.

    Args:
      destination: the folder.
      overwrite: an earlier conversion in it may be replaced.

    Raises:
      UserError: if there is a file, or a folder with anything other than an earlier conversion that may be replaced.
    """
    if os.path.isfile(destination):
        raise UserError(f"{destination} is a file; name a folder")
    found = list_files(destination) or (os.path.isdir(destination) and os.listdir(destination))
    if backup := _backup_of_interrupted(destination):
        if not overwrite:
            raise UserError(
                f"{destination} is not complete, since an earlier --overwrite was interrupted. The conversion that it "
                f"was to replace is in {backup}: copy it back, or convert again with --overwrite"
            )
    elif found and not overwrite:
        raise UserError(f"{destination} is not empty; choose another folder, or replace it with --overwrite")
    elif found and join(destination, REPORT_FILE) not in found:
        raise UserError(
            f"{destination} is not an earlier conversion (it has no {REPORT_FILE}), so --overwrite does not replace it"
        )


def empty(folder: str) -> None:
    """Deletes everything in a folder; the folder itself stays, with its lock."""
    if is_remote(folder):
        delete(list_files(folder))
        return
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.remove(entry.path)


def remove(folder: str) -> None:
    """Deletes a folder, if there is one; if that fails, a warning names what is left."""
    if not is_remote(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        _clear(folder)
    except Exception as error:  # Each cloud's client has errors of its own.
        _LOG.warning("%s is no longer needed but could not be deleted: %s", folder, error)


def replace(destination: str, complete: str) -> None:
    """Puts a finished conversion in place of an earlier one, which is lost at no point.

    In a file system these are two renames, and an earlier conversion waits in a new folder `DESTINATION.replaced-…`.

    Objects (`gs://`, `s3://`) can only be copied one by one. So an earlier conversion is first copied to
    `DESTINATION.replaced-…`. Then its label map is deleted, without which no pipeline takes a folder, then the rest,
    and the new label map arrives last. If any of that fails, the earlier conversion is copied back. If the process
    dies, the copy is left, and a later call that fails restores the destination from that.

    Args:
      destination: where it goes.
      complete: the folder of the finished conversion, which is gone afterwards.

    Raises:
      UserError: if neither the new conversion nor the earlier one could be put in place; names the copy.
      OSError: if it failed and everything is as it was before.
    """
    if is_remote(destination):
        _replace_objects(destination, complete)
    else:
        _replace_folder(destination, complete)


def _replace_folder(destination: str, complete: str) -> None:
    if not os.path.exists(destination):
        os.rename(complete, destination)
        return
    parent, name = os.path.split(destination)
    # A new folder, so that nothing that belongs to somebody else is deleted with it.
    folder = tempfile.mkdtemp(prefix=f"{name}.replaced-", dir=parent or os.curdir)
    replaced = os.path.join(folder, name)
    try:
        os.rename(destination, replaced)
        os.rename(complete, destination)
    except BaseException:
        if os.path.lexists(replaced):
            os.rename(replaced, destination)
        os.rmdir(folder)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _replace_objects(destination: str, complete: str) -> None:
    backup = _backup_of_interrupted(destination)
    if not backup and list_files(destination):
        backup = f"{destination}.replaced-{uuid.uuid4().hex}"
        try:
            copy_tree(destination, backup, _LAST)
        except BaseException:
            remove(backup)
            raise
    try:
        _clear(destination)
        copy_tree(complete, destination, _LAST)
    except BaseException as error:
        _put_back(destination, backup, error)
        raise
    for folder in filter(None, (complete, backup)):
        remove(folder)


def _put_back(destination: str, backup: str, reason: BaseException) -> None:
    try:
        _clear(destination)
        if backup:
            copy_tree(backup, destination, _LAST)
            remove(backup)
    except BaseException as error:
        if not backup:
            return
        raise UserError(
            f"{destination} could not be replaced ({reason}), nor could the earlier conversion be put back ({error}). "
            f"The earlier conversion is in {backup}: copy it to {destination}, or convert again with --overwrite"
        ) from reason


def _clear(folder: str) -> None:
    """Deletes the label map, and only then the rest."""
    marker = join(folder, LABEL_MAP_FILE)
    files = list_files(folder)
    delete([path for path in files if path == marker])
    delete([path for path in files if path != marker])


def _backup_of_interrupted(destination: str) -> str:
    """The whole earlier conversion, if a process died while it was replaced; otherwise an empty string."""
    if not is_remote(destination) or exists(join(destination, LABEL_MAP_FILE)):
        return ""
    folders = find_folders(glob.escape(destination) + ".replaced-*")
    return next((folder for folder in folders if exists(join(folder, LABEL_MAP_FILE))), "")
