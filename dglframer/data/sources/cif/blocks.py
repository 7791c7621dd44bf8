"""The syntax of CIF: text to data blocks, by gemmi.

Old and new dictionaries spell one name in two ways (``_cell_length_a``, ``_cell.length_a``) and the
case does not count. Here every name is in lower case, with ``_`` for the dot.
"""

import math
import re

from gemmi import cif

from dglframer.common.errors import Rejected

# What a crystal needs of a block; reflections and the like are left where they are.
WANTED = (
    *("_cell_", "_atom_site_", "_symmetry_", "_space_group", "_parent_space_group"),
    *("_chemical_formula_", "_exptl_"),
)
NULL = {"?": "unknown", ".": "not given", "": "without a value"}

# Two kinds of minus, the space that does not break, the end of a file of DOS.
ASCII = str.maketrans({"\u2212": "-", "\u2013": "-", "\xa0": " ", "\x1a": " "})


class Block:
    """One data block: the wanted names with their values, as text without the quotes."""

    def __init__(self, block: cif.Block):
        self.columns: dict[str, list[str]] = {}
        self.twice: set[str] = set()  # names that stand twice, with different values
        for item in block:
            if isinstance(item.pair, tuple):
                name, value = item.pair
                self.add(name, [value])
            elif item.loop is not None and any(map(wanted, tags := item.loop.tags)):
                values = item.loop.values
                for k, tag in enumerate(tags):
                    self.add(tag, values[k :: len(tags)])

    def add(self, tag: str, values: list[str]) -> None:
        if not wanted(tag):
            return
        name = tag.lower().replace(".", "_")
        texts = [cif.as_string(value) if value[:1] in "'\";" else value for value in values]
        known = self.columns.get(name)
        if known is None or all(value.strip() in NULL for value in known):
            self.columns[name] = texts
        elif known != texts and not all(value.strip() in NULL for value in texts):
            self.twice.add(name)

    def column(self, name: str) -> list[str]:
        """The values of a name, from a loop or alone; [] if the block does not have it.

        Raises Rejected if the name stands twice in the block, with different values.
        """
        if name in self.twice:
            raise Rejected(f"{name} is given twice, with different values")
        return self.columns.get(name, [])

    def text(self, name: str) -> str | None:
        """The one value of a name; None if it is absent or null (``?`` or ``.``)."""
        values = [value.strip() for value in self.column(name) if value.strip() not in NULL]
        if len(set(values)) > 1:
            raise Rejected(f"{name} has {len(values)} values")
        return values[0] if values else None

    def number(self, name: str) -> float | None:
        """The one number of a name; None if it is absent or null. Raises Rejected for other text."""
        value = self.text(name)
        return None if value is None else number(value, name)

    def names(self, pattern: str) -> list[str]:
        """The names that the pattern matches as a whole and that have a value, in file order."""
        match = re.compile(pattern).fullmatch
        return [
            name
            for name, values in self.columns.items()
            if match(name) and any(value.strip() not in NULL for value in values)
        ]


def wanted(tag: str) -> bool:
    return tag.lower().replace(".", "_").startswith(WANTED)


def number(text: str, what: str) -> float:
    """A CIF number such as ``9.5027(6)``; raises Rejected, with the name of what it is, for others."""
    if text in NULL:
        raise Rejected(f"{what} is {NULL[text]} ({text})" if text else f"{what} is {NULL[text]}")
    value = cif.as_number(text)
    if not math.isfinite(value):
        raise Rejected(f"{what} is not a number: {text!r:.40}")
    return value


def read_blocks(data: bytes) -> list[Block]:
    """The data blocks of a file in file order; raises Rejected with the line of a syntax error."""
    text = decoded(data)
    start = re.search(r"^[ \t]*data_", text, re.MULTILINE | re.IGNORECASE)
    if start is None:
        raise Rejected("cannot be read: not CIF, no line begins with data_")
    preamble, text = text[: start.start()], text[start.start() :]  # jarvis-tools has a title there
    if re.search(r"^\s*(_\w|loop_)", preamble, re.MULTILINE | re.IGNORECASE):
        raise Rejected(
            "cannot be read: not CIF, values before the first line that begins with data_"
        )
    try:
        return [Block(block) for block in cif.read_string(text, 0)]
    except (RuntimeError, ValueError) as error:
        found = re.match(r"string:(\d+)\S*(.*)", str(error), re.DOTALL)
        line, what = (int(found[1]), found[2].strip()) if found else (1, str(error))
        line += preamble.count("\n")
        raise Rejected(f"cannot be read: not CIF, line {line}: {what}") from None


def decoded(data: bytes) -> str:
    """The text in ASCII with line feeds: beyond ASCII CIF has names and titles only."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):  # what Windows editors call Unicode
        text = data.decode("utf-16", errors="replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
    if "\0" in text:
        raise Rejected("cannot be read: not a text file")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "[" in text:  # a list of CIF 2 is one value
        text = "\n".join(map(quoted_lists, text.split("\n")))
    if text.isascii():
        return text.replace("\x1a", " ")
    text = re.sub("([1-6])[\u0304\u0305]", r"-\1", text.translate(ASCII))  # 3 with a bar over it
    return re.sub("[^\\x00-\\x7f]", "~", text)


def quoted_lists(line: str) -> str:
    """The line with each ``[0 0 1]`` in quotes, unless there are others."""
    if "'" in line or '"' in line:
        return line
    return re.sub(r"(?<!\S)\[[^\[\]]*\](?!\S)", r"'\g<0>'", line)
