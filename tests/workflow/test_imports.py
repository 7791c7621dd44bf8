"""Imports inside the package. Which folder may import which is `make lint`'s business (pyproject.toml)."""

import graphlib

import grimp


def test_no_modules_import_each_other_in_a_circle():
    """A folder's ``__init__`` counts too; import-linter compares what stands beside each other only."""
    imports = grimp.build_graph("dglframer", cache_dir=None)
    graph = {name: imports.find_modules_directly_imported_by(name) for name in imports.modules}
    assert any(graph.values())
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the circle
