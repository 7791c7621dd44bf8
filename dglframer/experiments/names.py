"""The models that several experiments have: their names in tables, their colours in figures."""

from dglframer.report.plots import BLUE, ORANGE, PURPLE, SKY

LABELS = {
    "deepset": "DeepSet",
    "tfn": "TFN",
    "set_transformer": "Set Transformer",
    "se3_transformer": "SE(3)-Transformer",
}
COLOURS = {
    "deepset": PURPLE,
    "tfn": SKY,
    "set_transformer": ORANGE,
    "se3_transformer": BLUE,
}
