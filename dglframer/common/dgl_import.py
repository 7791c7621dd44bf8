"""The one place that imports DGL.

DGL writes to the home folder at its first import unless DGLBACKEND is set. DGL 2.1 (the only wheel
for Python 3.12) also loads its GraphBolt library, which was built for torch <= 2.2. dglframer does not
use GraphBolt: an empty module in its place lets the import succeed with a current torch.
"""

import importlib.metadata
import os
import sys
import types

os.environ.setdefault("DGLBACKEND", "pytorch")
if not importlib.metadata.version("dgl").startswith("1."):
    sys.modules.setdefault("dgl.graphbolt", types.ModuleType("dgl.graphbolt"))

import dgl
import dgl.ops
from dgl.dataloading import GraphDataLoader
from dgl.nn.functional import edge_softmax

__all__ = ["GraphDataLoader", "dgl", "edge_softmax"]
