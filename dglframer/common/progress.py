"""A bar of rich while a long verb works, on a terminal only: files and pipes get the lines of the log."""

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")
Advance = Callable[..., None]  # advance(done, note=""): how much is done in all, and a few words

_open: list[
    "Progress"
] = []  # the display, while there is one: work inside other work has a bar in it


@contextmanager
def progress(what: str, total: float | None = None) -> Iterator[Advance]:
    """Yield ``advance(done, note="")``, which moves a bar; it does nothing where nobody looks.

    ``total``: the value of ``done`` at the end; None if it is not known. The bar is on standard error, and
    goes when the block ends. There is none where the log has no lines of INFO.
    """
    if not _is_watched():
        yield lambda done, note="": None
        return
    with _display() as display:
        task = display.add_task(what, total=total, note="")
        try:
            yield lambda done, note="": display.update(task, completed=done, note=note)
        finally:
            display.remove_task(task)


def tracked(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """The items, and a bar that counts them."""
    with progress(what, total) as advance:
        for count, item in enumerate(items, 1):
            yield item
            advance(count)


def _is_watched() -> bool:
    """Whether standard error is a terminal on which a bar can move, and the log is not quiet."""
    if not logging.getLogger().isEnabledFor(logging.INFO):
        return False
    return sys.stderr.isatty() and os.environ.get("TERM") not in (None, "", "dumb", "unknown")


@contextmanager
def _display() -> Iterator["Progress"]:
    """The display that is there, or a new one, above which the lines of the log are written."""
    if _open:
        yield _open[-1]
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        "[progress.description]{task.description}",
        "{task.completed:,.0f}",
        "{task.fields[note]}",
    )
    name, count, note = map(TextColumn, columns)
    display = Progress(
        *(name, BarColumn(), count, TimeElapsedColumn(), TimeRemainingColumn(), note),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
    )
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
    ]
    with display:
        before = [handler.setStream(sys.stderr) for handler in handlers]  # rich's, above the bar
        _open.append(display)
        try:
            yield display
        finally:
            _open.pop()
            for handler, stream in zip(handlers, before, strict=True):
                if stream is not None:
                    handler.setStream(stream)
