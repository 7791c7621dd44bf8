"""Which shards of a graph folder a process reads when each of several reads its own alone.

The shard at place k of manifest.json belongs to process k modulo their number. Every process has the
whole manifest, which is small, and the split; of the shards it opens its own.
"""

from typing import Any, NamedTuple

from dglframer.common.errors import UserError


class Share(NamedTuple):
    """Process ``rank`` of ``size``; of one process all shards."""

    rank: int = 0
    size: int = 1


WHOLE = Share()


def own_manifest(manifest: dict[str, Any], share: Share) -> dict[str, Any]:
    """The manifest with the shards of one process alone, and the sums over them.

    Raises UserError if there are fewer shards than processes.
    """
    if share.size == 1:
        return manifest
    shards = manifest["shards"][share.rank :: share.size]
    if not shards:
        raise UserError(
            f"{len(manifest['shards'])} shards are too few for {share.size} processes that each read "
            "their own: make smaller ones (graphs.crystals_per_shard), or leave out --own-shards"
        )
    counts = [key for key in shards[0] if key not in ("file", "sha256")]
    return {
        **manifest,
        "shards": shards,
        **{key: sum(one[key] for one in shards) for key in counts},
    }
