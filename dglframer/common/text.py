"""Text for files of UTF-8: names of files may be any bytes, and JSON may hold half a character."""


def is_utf8(text: str) -> bool:
    """Whether a text can be written in UTF-8: it has no lone surrogates."""
    return escaped(text) == text


def escaped(text: str) -> str:
    r"""The text with ``\udcff`` written out for what UTF-8 cannot hold (there the byte ff of a name)."""
    return text.encode("utf-8", "backslashreplace").decode()
