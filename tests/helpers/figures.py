"""What stands in a figure."""

import xml.etree.ElementTree as ElementTree

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    """The words of a figure; fails if it is not XML."""
    return [text.text or "" for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]
