"""The dataset of tuning: train and val; all other crystals are held out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dglframer.common.errors import HeldOut
from dglframer.config.networks import SymmetryGroup
from dglframer.data.split import read_split
from dglframer.graphs.batch import Batch
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.own_shards import WHOLE, Share

VISIBLE = ("train", "val")


class TrainValDataset(GraphDataset):
    """A GraphDataset of the ``visible`` crystals alone.

    The shards hold every crystal. This class therefore raises HeldOut for any other id and for a
    batch with any other row, and the labels of the others are NaN.
    """

    def __init__(
        self,
        graphs: Path,
        ids: Sequence[str],
        visible: Sequence[str],
        group: SymmetryGroup = "none",
        share: Share = WHOLE,
    ):
        super().__init__(graphs, ids, group, share)
        self.visible_G = np.isin(self.id_of_row.astype(str), list(visible))
        self.refuse(self.rows)
        targets_GT = np.where(self.visible_G[:, None], self.targets, np.nan)
        self.targets = self.arrays["targets"] = targets_GT

    def refuse(self, rows_B: np.ndarray) -> None:
        """Raise HeldOut if a row is not visible."""
        hidden_B = ~self.visible_G[rows_B]
        if hidden_B.any():
            id = self.id_of_row[rows_B[hidden_B][0]]
            raise HeldOut(f"{id} is in none of {', '.join(VISIBLE)}")

    def collate(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """The batch of some rows; raises HeldOut."""
        self.refuse(np.asarray(rows))
        return super().collate(rows)


def visible_datasets(
    graphs: Path,
    split: Path,
    names: Sequence[str] = VISIBLE,
    group: SymmetryGroup = "none",
    share: Share = WHOLE,
) -> list[TrainValDataset]:
    """A dataset for each of ``names``; raises HeldOut for the test split.

    With a ``share`` they hold the crystals in the shards of one process.
    """
    hidden = [name for name in names if name not in VISIBLE]
    if hidden:
        raise HeldOut(f"the {hidden[0]} split cannot be read before the evaluation")
    parts = read_split(split, allowed=VISIBLE)
    visible = [id for name in VISIBLE for id in parts[name]]
    return [TrainValDataset(graphs, parts[name], visible, group, share) for name in names]
