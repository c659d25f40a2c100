"""A store of objects that holds every file that a row names, so that machines need not share a folder.

The folder of artifacts on each machine is then a cache: what is missing or damaged there comes from the store, and is
used only if its digest is the recorded one. Objects are named by their content (`objects/ab/ab12…`, the sha256), so the
same file is kept once, and none is ever overwritten with something else.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from service.archives import wrong_with
from service.errors import Unavailable
from service.settings import Settings, without_password

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

log = logging.getLogger(__name__)

T = TypeVar("T")

OBJECTS = "objects"
# A store that does not answer is asked again for so long, at first after a second.
PATIENCE_SECONDS = 600.0
# The same where somebody waits for an answer.
ANSWER_PATIENCE_SECONDS = 5.0
# A younger object may belong to a row that is being written.
GRACE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Stored:
    """An object of the store."""

    sha256: str
    size_bytes: int
    changed_at: datetime | None


class Depot:
    """The objects of one installation, and the folder that is a cache of them.

    Args:
        url: as fsspec has it, such as `s3://bucket/winnow`.
        folder: where files lie under the names that rows give them.
        patience: seconds for which a store that does not answer is asked again.

    Raises:
        ValueError: the URL names nothing that fsspec knows, or what it needs is not installed.
    """

    def __init__(self, url: str, folder: Path, patience: float = PATIENCE_SECONDS) -> None:
        from fsspec.core import url_to_fs

        try:
            self._files, root = url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            said = without_password(f"{url}, and that cannot be opened: {error}")
            raise ValueError(
                f"WINNOW_ARTIFACTS_URL is {said} "
                "For s3:// install winnow[s3]; leave it out to keep artifacts in WINNOW_DATA_DIR alone."
            ) from None
        # As it is shown: some back ends have their password in the URL.
        self.url, self._root, self._folder, self._patience = without_password(url), root.rstrip("/"), folder, patience

    def keep(self, name: str, sha256: str) -> None:
        """Send a file of the folder to the store, unless that has it. A row may name it afterwards.

        Raises:
            Unavailable: the store does not answer.
        """
        local = self._folder / name

        def send(files: AbstractFileSystem) -> None:
            key = self._key(sha256)
            if files.exists(key) and files.size(key) == local.stat().st_size:
                return
            files.makedirs(str(PurePosixPath(key).parent), exist_ok=True)
            files.put_file(str(local), key)

        self._patiently(send)

    def bring(self, name: str, sha256: str) -> bool:
        """See to it that a file is in the folder and is what was written; whether it is.

        Raises:
            Unavailable: it is not in the folder, and the store does not answer.
        """
        local = self._folder / name
        if wrong_with(local, sha256) is None:
            return True
        # Of this call alone: requests of one process may fetch the same file at once.
        draft = local.with_name(f".{local.name}.{os.getpid()}-{secrets.token_hex(4)}.draft")

        def fetch(files: AbstractFileSystem) -> bool:
            local.parent.mkdir(parents=True, exist_ok=True)
            if not files.exists(self._key(sha256)):
                return False
            files.get_file(self._key(sha256), str(draft))
            return True

        try:
            if not self._patiently(fetch):
                return False
            if (wrong := wrong_with(draft, sha256)) is not None:
                log.error("the object %s of %s %s", sha256, self.url, wrong)
                return False
            draft.rename(local)
        finally:
            draft.unlink(missing_ok=True)
        return True

    def has(self, sha256: str) -> bool:
        """Whether the store has a file.

        Raises:
            Unavailable: it does not answer.
        """
        return self._patiently(lambda files: bool(files.exists(self._key(sha256))))

    def discard(self, sha256: str) -> None:
        """Remove an object that no row names, if it is there.

        Raises:
            Unavailable: the store does not answer.
        """

        def remove(files: AbstractFileSystem) -> None:
            try:
                files.rm_file(self._key(sha256))
            except FileNotFoundError:
                return

        self._patiently(remove)

    def put(self, name: str, file: Path) -> None:
        """Keep a file under a name of its own, for a while: until it is part of an object.

        Raises:
            Unavailable: the store does not answer.
        """

        def send(files: AbstractFileSystem) -> None:
            key = f"{self._root}/{name}"
            files.makedirs(str(PurePosixPath(key).parent), exist_ok=True)
            files.put_file(str(file), key)

        self._patiently(send)

    def get(self, name: str, file: Path) -> None:
        """Bring such a file.

        Raises:
            FileNotFoundError: it is not there.
            Unavailable: the store does not answer.
        """

        def fetch(files: AbstractFileSystem) -> bool:
            key = f"{self._root}/{name}"
            if not files.exists(key):
                return False
            files.get_file(key, str(file))
            return True

        if not self._patiently(fetch):
            raise FileNotFoundError(name)

    def names(self, folder: str) -> list[str]:
        """Names of such files in a folder, relative to it and in order.

        Raises:
            Unavailable: the store does not answer.
        """
        root = f"{self._root}/{folder}"
        found = self._patiently(lambda files: list(files.find(root)))
        return sorted(path.split(f"{root}/", 1)[1] for path in found)

    def drop(self, folder: str) -> None:
        """Remove such files of a folder.

        Raises:
            Unavailable: the store does not answer.
        """
        for name in self.names(folder):

            def remove(files: AbstractFileSystem, key: str = f"{self._root}/{folder}/{name}") -> None:
                try:
                    files.rm_file(key)
                except FileNotFoundError:
                    return

            self._patiently(remove)

    def objects(self) -> Iterator[Stored]:
        """All of them.

        Raises:
            Unavailable: the store does not answer.
        """
        folder = f"{self._root}/{OBJECTS}"
        for path, facts in sorted(self._patiently(lambda files: dict(files.find(folder, detail=True))).items()):
            yield Stored(PurePosixPath(path).name, int(facts["size"] or 0), _moment(facts))

    def check(self) -> None:
        """See to it that the store answers, without patience.

        Raises:
            Unavailable: it does not.
        """
        try:
            self._files.exists(f"{self._root}/{OBJECTS}")
        except Exception as error:
            raise self._away(error) from None

    def _key(self, sha256: str) -> str:
        return f"{self._root}/{OBJECTS}/{sha256[:2]}/{sha256}"

    def _patiently(self, work: Callable[[AbstractFileSystem], T]) -> T:
        """Do it, again and again while the store does not answer. What back ends raise then has no class in common."""
        deadline, pause = time.monotonic() + self._patience, 1.0
        while True:
            try:
                return work(self._files)
            except PermissionError as error:
                raise self._away(error) from None
            except Exception as error:
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise  # no room on this machine
                if time.monotonic() + pause > deadline:
                    raise self._away(error) from None
                log.warning("%s does not answer, trying again: %s", self.url, without_password(str(error)))
                time.sleep(pause)
                pause = min(60.0, 2 * pause)

    def _away(self, error: Exception) -> Unavailable:
        said = without_password(f"{type(error).__name__}: {error}")
        return Unavailable(f"The artifacts at {self.url} cannot be reached: {said}")


def _moment(facts: dict[str, object]) -> datetime | None:
    """When an object was last written, as its back end says it: a date, or seconds since 1970."""
    for name in ("LastModified", "last_modified", "updated", "mtime", "created"):
        found = facts.get(name)
        if isinstance(found, datetime):
            return found if found.tzinfo else found.replace(tzinfo=UTC)
        if isinstance(found, int | float):
            return datetime.fromtimestamp(found, UTC)
    return None


def depot_of(settings: Settings, patience: float = PATIENCE_SECONDS) -> Depot | None:
    """The store that the settings name; None: artifacts are in the folder alone.

    Args:
        patience: seconds for which a store that does not answer is asked again.

    Raises:
        ValueError: it cannot be opened.
    """
    if settings.artifacts_url is None:
        return None
    return Depot(settings.artifacts_url, settings.artifacts_dir, patience)
