"""Self-contained HTML pages: the template environment, and filters that format values."""

import re
import shlex
from typing import TYPE_CHECKING, Any

import numpy as np

from dglframer.report.digits import fixed, with_error
from dglframer.report.scenes import data_block, library, script

if TYPE_CHECKING:
    from jinja2 import Environment


def environment() -> "Environment":
    """The templates of the package; an undefined name is an error, and output is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("dglframer.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    pages.filters.update(number=number, embedded=embedded, quote=quoted, median=np.median)
    pages.filters.update(fixed=fixed, with_error=with_error, data_block=data_block)
    pages.globals.update(script=script, library=library)
    return pages


def number(value: Any) -> str:
    """A value in a table: with four decimals, fewer for large numbers; a dash for None and NaN."""
    if value is None or value != value:
        return "–"
    if isinstance(value, bool | str | int):
        return str(value)
    if 0 < abs(value) < 0.01:
        return f"{value:.3g}"
    return f"{value:.{4 if abs(value) < 100 else 1}f}".replace("-", "−")


def quoted(path: Any) -> str:
    """A path or a list of paths as words of a command line."""
    return shlex.join(map(str, path if isinstance(path, list) else [path]))


def embedded(svg: str, key: str, label: str) -> Any:
    """An SVG document as an element of the page, with unique ids and a label for screen readers."""
    from markupsafe import Markup, escape

    unique = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{key}-", svg[svg.index("<svg") :])
    return Markup(unique.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1))
