"""The storage of a study: an SQLite file, a journal, or a database by its URL."""

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

from dglframer.common.disk import cannot_write
from dglframer.common.errors import DamagedFile, UserError
from dglframer.tuning.journal import Journal

log = logging.getLogger(__name__)

SQLITE_SECONDS = 120  # a worker waits for another's transaction for so long


def open_study(
    spec: str, folder: Path, name: str, sampler: BaseSampler, pruner: optuna.pruners.BasePruner
) -> optuna.Study:
    """Load or create the study ``name`` in the storage ``spec`` (tune.storage).

    Raises DamagedFile for a file that is not a study, UserError for a database that cannot be
    reached. Neither message holds the URL of a database, which may hold a password.
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
        if where and (problem := cannot_write(error, where)):
            raise problem from None
        # Every driver raises its own errors; each means that no study was opened.
        cause = error.__cause__ or error
        if where:
            raise DamagedFile(
                f"{where}: no study can be read from it ({type(cause).__name__}: {cause});"
                " remove the file to start tuning afresh"
            ) from None
        raise UserError(
            f"tune.storage: no study can be opened ({without_url(cause, spec)})"
        ) from None


def open_storage(spec: str, where: Path | None) -> BaseStorage:
    """Optuna's storage for ``spec``; ``where`` is the file of sqlite and journal."""
    if spec == "journal":
        assert where is not None
        return JournalStorage(Journal(where))
    if spec == "sqlite":
        return sqlite_storage(f"sqlite:///{where}")
    url = database_url(spec)
    return sqlite_storage(url) if url.startswith("sqlite") else RDBStorage(url)


def sqlite_storage(url: str) -> RDBStorage:
    """An SQLite file that each transaction locks from its start.

    Otherwise two workers could both read that a trial is waiting before one of them takes it.
    """
    from sqlalchemy import Connection, event

    # With isolation_level None the driver does not begin transactions itself.
    arguments = {"timeout": SQLITE_SECONDS, "isolation_level": None}
    storage = RDBStorage(url, engine_kwargs={"connect_args": arguments})

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(storage.engine, "begin", begin)
    return storage


def database_url(spec: str) -> str:
    """The URL, read from the environment for ``env:NAME``; raises UserError if it is not set."""
    kind, _, name = spec.partition(":")
    if kind != "env":
        return spec
    url = os.environ.get(name)
    if not url:
        raise UserError(f"tune.storage: the environment variable {name} is not set")
    return url


def without_url(error: BaseException, spec: str) -> str:
    """The text of an error, without the URL or password from the environment."""
    text = f"{type(error).__name__}: {error}"
    if spec.startswith("env:"):
        url = database_url(spec)
        for secret in (url, urlsplit(url).password, urlsplit(url).netloc):
            text = text.replace(secret, "…") if secret else text
    return text


@contextmanager
def opening_alone(folder: Path) -> Iterator[None]:
    """Let one worker at a time create the tables; all at once if files cannot be locked."""
    with open(folder / ".opening", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            log.info("%s cannot be locked: %s", handle.name, error)
        yield


def describe(study: optuna.Study, settings: dict[str, Any]) -> None:
    """Write the settings of a study to its attributes, for people and the dashboard."""
    if study.user_attrs.get("settings") != settings:
        study.set_user_attr("settings", settings)
