"""rejected.parquet: sorted, whole, and in bounded memory; too large a share of it stops the run."""

import random

import pyarrow.parquet as pq
import pytest

from dglframer.common.errors import UserError
from dglframer.common.parquet import write_parquet
from dglframer.data import rejections as module
from dglframer.data.rejections import SCHEMA, Rejections, check_rejected_share


def rejected(counts: dict[str, int]) -> Rejections:
    """As many records of each reason."""
    rejections = Rejections()
    for reason in (reason for reason, count in counts.items() for _ in range(count)):
        rejections.add("x", reason, len(rejections))
    return rejections


@pytest.mark.parametrize("group_rows", [7, 40, 1000])
def test_rows_are_sorted_and_written_a_group_at_a_time(tmp_path, monkeypatch, group_rows):
    rows = [(f"{'é𝔸Zz'[k % 4]}{k % 30}", f"reason {k % 3}", k) for k in range(120)]
    rejections = Rejections()
    for row in random.Random(0).sample(rows, len(rows)):
        rejections.add(*row)
    monkeypatch.setattr(module, "GROUP_ROWS", group_rows)
    rejections.write(tmp_path / "rejected.parquet")
    written = pq.read_table(tmp_path / "rejected.parquet")
    assert [tuple(row.values()) for row in written.to_pylist()] == sorted(rows)
    assert written.schema == SCHEMA and written.equals(rejections.table())
    assert max(len(table) for table in rejections.tables()) <= group_rows


@pytest.mark.parametrize("counts", [{}, {"bad": 3}])
def test_what_fits_into_one_group_has_the_bytes_of_a_table(tmp_path, counts):
    rejections = rejected(counts)
    rejections.write(tmp_path / "a")
    write_parquet(tmp_path / "b", rejections.table())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert rejections.table().schema == SCHEMA and len(rejections.table()) == len(rejections)


def test_reasons_are_counted_the_most_frequent_first():
    assert list(rejected({"a": 1, "c": 2, "b": 2}).reasons()) == [("c", 2), ("b", 2), ("a", 1)]


@pytest.mark.parametrize(("n_valid", "n_bad", "max_share"), [(9, 1, 0.1), (1, 0, 0.0), (1, 9, 1.0)])
def test_rejected_share_up_to_the_allowed_one_passes(n_valid, n_bad, max_share):
    """And not one record more, where that is possible."""
    check_rejected_share(n_valid, rejected({"bad": n_bad}), max_share)
    if max_share < 1:
        with pytest.raises(UserError):
            check_rejected_share(n_valid, rejected({"bad": n_bad + 1}), max_share)


@pytest.mark.parametrize(("n_valid", "n_bad", "max_share"), [(9, 2, 0.1), (9, 1, 0.0)])
def test_too_large_a_rejected_share_stops_with_the_numbers(n_valid, n_bad, max_share):
    with pytest.raises(UserError, match=f"{n_bad} of {n_valid + n_bad} .*max_rejected_fraction"):
        check_rejected_share(n_valid, rejected({"bad": n_bad}), max_share)


@pytest.mark.parametrize("counts", [{"bad": 3}, {"no label gap": 5}, {"bad": 3, "no label": 5}])
def test_without_a_valid_crystal_it_stops_whatever_share_is_allowed(counts):
    bad, unlabelled = counts.get("bad", 0), sum(counts.values()) - counts.get("bad", 0)
    numbers = f"of {bad + unlabelled} records {bad} were rejected and {unlabelled} have no label"
    with pytest.raises(UserError, match=f"no crystal is left: {numbers}"):
        check_rejected_share(0, rejected(counts), 1.0)
    with pytest.raises(UserError, match="the source has no records"):
        check_rejected_share(0, Rejections(), 1.0)


def test_records_without_the_label_do_not_count_as_bad():
    rejections = rejected({"no label gap": 50, "duplicate sites": 1})
    check_rejected_share(19, rejections, 0.05)
    with pytest.raises(UserError, match="1 of 11 labelled"):
        check_rejected_share(10, rejections, 0.05)
