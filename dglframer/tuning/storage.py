"""Where a study is kept: an SQLite file, a journal, or a database by its URL."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage

from dglframer.common.errors import DamagedFile, UserError
from dglframer.tuning.journal import Journal

log = logging.getLogger(__name__)

SQLITE_SECONDS = 120  # how long one worker waits for another's transaction


def open_study(
    spec: str, folder: Path, name: str, sampler: BaseSampler, pruner: optuna.pruners.BasePruner
) -> optuna.Study:
    """Load or create the study ``name`` in the storage that ``spec`` (tune.storage) names.

    Raises DamagedFile for a file that is not a study, UserError for a database out of reach. The
    URL of a database is in neither, since it may hold a password.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    where = {"sqlite": folder / "study.sqlite3", "journal": folder / "study.journal"}.get(spec)
    try:
        with opening_alone(folder):
            return optuna.create_study(
                storage=open_storage(spec, where),
                study_name=name,
                load_if_exists=True,
                sampler=sampler,
                pruner=pruner,
            )
    except UserError:
        raise
    except Exception as error:
        # Drivers raise errors of their own; what they have in common is that no study was opened.
        cause = error.__cause__ or error
        if where:
            raise DamagedFile(
                f"{where}: no study can be read from it ({type(cause).__name__}: {cause});"
                " without the file, tuning starts afresh"
            ) from None
        raise UserError(
            f"tune.storage: no study can be opened ({without_url(cause, spec)})"
        ) from None


def open_storage(spec: str, where: Path | None) -> BaseStorage:
    """The storage itself."""
    if spec == "journal":
        assert where is not None
        return JournalStorage(Journal(where))
    if spec == "sqlite":
        return sqlite_storage(f"sqlite:///{where}")
    url = database_url(spec)
    return sqlite_storage(url) if url.startswith("sqlite") else RDBStorage(url)


def sqlite_storage(url: str) -> RDBStorage:
    """An SQLite file whose transactions lock it from their start.

    Otherwise two workers may read the state of one waiting trial before either changes it.
    """
    from sqlalchemy import Connection, event

    # isolation_level None: the driver begins no transaction by itself.
    arguments = {"timeout": SQLITE_SECONDS, "isolation_level": None}
    storage = RDBStorage(url, engine_kwargs={"connect_args": arguments})

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(storage.engine, "begin", begin)
    return storage


def database_url(spec: str) -> str:
    """The URL itself, or what stands in the environment for ``env:NAME``; raises UserError."""
    kind, _, name = spec.partition(":")
    if kind != "env":
        return spec
    url = os.environ.get(name)
    if not url:
        raise UserError(f"tune.storage: the environment variable {name} is not set")
    return url


def without_url(error: BaseException, spec: str) -> str:
    """The text of an error, without anything that only the environment knows."""
    text = f"{type(error).__name__}: {error}"
    if spec.startswith("env:"):
        url = database_url(spec)
        for secret in (url, urlsplit(url).password, urlsplit(url).netloc):
            text = text.replace(secret, "…") if secret else text
    return text


@contextmanager
def opening_alone(folder: Path) -> Iterator[None]:
    """Let one worker after the other make the tables; where files cannot be locked, all at once."""
    with open(folder / ".opening", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            log.info("%s cannot be locked: %s", handle.name, error)
        yield


def describe(study: optuna.Study, settings: dict[str, Any]) -> None:
    """Write what a study depends on beside it, for people and for the dashboard."""
    if study.user_attrs.get("settings") != settings:
        study.set_user_attr("settings", settings)
