"""The folder of checkpoints by itself: what is kept, what is refused, and what damage does."""

import json
import os

import pytest
import torch
from safetensors import SafetensorError

from dglframer.common.errors import DamagedFile, UserError
from dglframer.common.files import hash_of
from dglframer.training import checkpoints as module
from dglframer.training.checkpoints import Checkpoints, differences, open_checkpoints, read_snapshot
from dglframer.training.snapshot import Snapshot

IDENTITY = {"settings": {"training": {"epochs": 3}}, "train_ids": "abc"}
VALUES = {"epoch": 2, "loss": 0.5, "note": None}


def snapshot(number: float = 1.0) -> Snapshot:
    turned = torch.arange(6.0).reshape(2, 3).T  # not contiguous
    return Snapshot({"weight": turned + number, "count": torch.tensor([3])}, VALUES)


@pytest.fixture
def one(tmp_path) -> Checkpoints:
    return open_checkpoints(tmp_path / "run", IDENTITY)


def names(checkpoints: Checkpoints) -> list[str]:
    return [path.name for path in checkpoints.all()]


def test_what_is_saved_is_read(one):
    parameter = snapshot()
    parameter.tensors["weight"].requires_grad_()
    folder = one.save(parameter, 1, 20)
    assert folder.name == "epoch-000001-batch-00000020" and folder.parent == one.folder
    assert sorted(path.name for path in folder.iterdir()) == ["state.json", "tensors.safetensors"]
    found = read_snapshot(folder)
    assert found.values == VALUES
    assert found.tensors.keys() == parameter.tensors.keys()
    assert all(torch.equal(found.tensors[key], parameter.tensors[key]) for key in found.tensors)


def test_the_two_newest_are_kept_in_order_of_epoch_and_batch(one):
    for epoch, batch in ((2, 9), (2, 10), (10, 0), (10, 3)):
        one.save(snapshot(), epoch, batch)
    assert names(one) == ["epoch-000010-batch-00000000", "epoch-000010-batch-00000003"]
    assert one.newest() == one.all()[-1]


def test_without_a_checkpoint_there_is_no_newest(one):
    assert one.all() == [] and one.newest() is None


def flip(path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def rewritten(path) -> None:
    """The state with another value, as valid JSON."""
    content = json.loads(path.read_text())
    content["values"]["epoch"] += 1
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("file", "harm"),
    [
        ("tensors.safetensors", flip),
        ("tensors.safetensors", os.remove),
        ("state.json", rewritten),
        ("state.json", os.remove),
        ("state.json", lambda path: path.write_text("[1]")),
        ("state.json", lambda path: path.write_text('{"values": {}}')),
    ],
    ids=["flipped", "no tensors", "other value", "no state", "a list", "no hash"],
)
def test_a_damaged_one_is_named_and_removed_and_the_one_before_is_taken(one, caplog, file, harm):
    before, last = one.save(snapshot(1), 1, 0), one.save(snapshot(2), 2, 0)
    harm(last / file)
    with pytest.raises(DamagedFile, match=file):
        read_snapshot(last)
    assert one.newest() == before and not last.exists()
    (line,) = caplog.messages
    assert line.startswith("damaged checkpoint: ") and file in line
    assert line.endswith("; removed, using the one before it")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(28, "No space left"), "the disk is full"),
        (SafetensorError("no room"), r"the checkpoint cannot be written \(no room\)"),
    ],
    ids=["disk", "format"],
)
def test_one_that_cannot_be_written_leaves_the_others(one, monkeypatch, error, message):
    one.save(snapshot(), 1, 0)
    one.save(snapshot(), 2, 0)

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(module, "save_file", fail)
    with pytest.raises(UserError, match=f"epoch-000003-batch-00000000: {message}"):
        one.save(snapshot(), 3, 0)
    assert len(names(one)) == 2 and len(list(one.folder.glob("*epoch-000003*"))) == 0


def test_each_training_has_its_folder_by_its_identity(tmp_path, one):
    whole = {"checkpoint_format": module.FORMAT_VERSION, **IDENTITY}
    assert one.folder == tmp_path / "run" / hash_of(whole)[:12]
    assert json.loads((one.folder / "identity.json").read_text()) == whole
    one.save(snapshot(), 1, 0)
    again = open_checkpoints(tmp_path / "run", IDENTITY)
    assert again.folder == one.folder and names(again) == names(one)


CHANGED = {"settings": {"training": {"epochs": 4}, "more": 1}, "train_ids": "abc"}


def test_other_settings_are_refused_with_every_difference(tmp_path, one):
    one.save(snapshot(), 1, 0)
    with pytest.raises(UserError) as error:
        open_checkpoints(tmp_path / "run", CHANGED)
    assert str(error.value) == (
        f"{tmp_path / 'run'} holds checkpoints of another training:\n"
        "  settings.training.epochs: 3 before, 4 now\n"
        "  settings.more: absent before, 1 now\n"
        "To continue it, restore these settings. To begin anew, choose another directory, "
        "or discard it with --restart."
    )
    assert names(one), "nothing is removed"
    assert not Checkpoints(tmp_path / "run", CHANGED).folder.exists()


def test_fresh_begins_beside_the_newest_of_the_others(tmp_path, one, caplog):
    caplog.set_level("INFO")
    one.save(snapshot(), 1, 0)
    middle = open_checkpoints(tmp_path / "run", IDENTITY | {"train_ids": "b"}, when_changed="fresh")
    middle.save(snapshot(), 1, 0)
    for folder, seconds in ((one.folder, 100), (middle.folder, 200)):
        os.utime(folder / "identity.json", (seconds, seconds))
    caplog.clear()
    third = open_checkpoints(tmp_path / "run", IDENTITY | {"train_ids": "c"}, when_changed="fresh")
    assert caplog.messages == [
        "starting anew beside the checkpoints of another training:\n  train_ids: b before, c now"
    ]
    assert names(one) and names(middle) and names(third) == []


def test_who_has_a_folder_goes_on_in_it_whatever_lies_beside(tmp_path, one):
    other = open_checkpoints(tmp_path / "run", CHANGED)  # nothing was saved yet: no other training
    other.save(snapshot(), 1, 0)
    assert open_checkpoints(tmp_path / "run", IDENTITY).folder == one.folder


def test_restart_removes_every_training_and_nothing_else(tmp_path, one):
    one.save(snapshot(), 1, 0)
    mine = tmp_path / "run" / "epoch-notes"
    (mine / "epoch-1").mkdir(parents=True)  # without an identity: not ours
    anew = open_checkpoints(tmp_path / "run", CHANGED, restart=True)
    assert not one.folder.exists() and names(anew) == []
    assert (mine / "epoch-1").is_dir()


def test_what_a_killed_writer_left_is_removed(tmp_path, one):
    left = one.folder / ".epoch-000001-batch-00000000.tmp-123"
    left.mkdir()
    open_checkpoints(tmp_path / "run", IDENTITY)
    assert not left.exists()


def test_steps_that_were_left_out_are_a_line_each(one):
    steps = [{"step": 3, "ids": ["a", "b"]}, {"step": 4, "ids": []}]
    one.write_nonfinite(steps)
    lines = (one.folder / "nonfinite.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == steps


def test_differences_are_in_the_order_of_the_keys_and_dotted():
    before = {"a": {"b": {"c": 1, "d": 2}}, "gone": None, "same": [1]}
    now = {"a": {"b": {"c": 1, "d": 3}}, "same": [1], "new": 0}
    assert differences(before, now) == [
        "a.b.d: 2 before, 3 now",
        "gone: None before, absent now",
        "new: absent before, 0 now",
    ]
