"""Object storage: what is read from a server of the S3 protocol equals what is read from a folder."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.crystals import TINY_CUTOFF

from dglframer.common.errors import ConfigError, DamagedFile
from dglframer.common.files import read_json, sha256, write_json
from dglframer.common.parquet import parquet_batches, read_parquet, read_rows
from dglframer.common.remote import RemotePath, location, size_of
from dglframer.config.data import DatasetConfig, GraphsConfig
from dglframer.data.sources import describe, open_source, verify
from dglframer.data.split import read_split
from dglframer.graphs.dataset import GraphDataset
from dglframer.graphs.shards import write_graphs

BUCKET = "crystals-of-a-test"
TARGET = "formation_energy_peratom"


def test_a_remote_path_is_spelt_as_it_is_given():
    path = location(f"s3://{BUCKET}/run")
    assert isinstance(path, RemotePath) and type(location("run")) is type(Path("run"))
    shard = path / "graphs" / "shard-00000.parquet"
    assert str(shard) == os.fspath(shard) == f"s3://{BUCKET}/run/graphs/shard-00000.parquet"
    assert shard.key == f"{BUCKET}/run/graphs/shard-00000.parquet"
    assert str(shard.parent.with_name("x")) == f"s3://{BUCKET}/run/x"
    assert location(shard) is shard and shard == location(str(shard))


@pytest.fixture(scope="module")
def storage(tiny_run):
    """A bucket of the server of moto on this machine that holds the files of the tiny run."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed (extra dev)")
    boto3 = pytest.importorskip("boto3")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "of-a-test",
        "AWS_SECRET_ACCESS_KEY": "of-a-test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        for path in (tiny_run.crystals, tiny_run.split, *tiny_run.graphs.glob("*.*")):
            client.upload_file(str(path), BUCKET, f"run/{path.relative_to(tiny_run.root)}")
        yield client
    server.stop()


@pytest.fixture
def remote(storage):
    return location(f"s3://{BUCKET}/run")


def test_files_are_read_as_from_a_folder(remote, tiny_run):
    path = remote / "crystals.parquet"
    table = read_parquet(tiny_run.crystals)
    assert path.is_file() and size_of(path) == size_of(tiny_run.crystals)
    assert sha256(path) == sha256(tiny_run.crystals)
    assert read_parquet(path).equals(table)
    assert read_rows(path, 4, 7, ["id"])["id"].to_pylist() == table["id"].to_pylist()[4:7]
    rows = [row for batch in parquet_batches(path, ["id"], 5) for row in batch["id"].to_pylist()]
    assert rows == table["id"].to_pylist()
    assert read_json(remote / "graphs" / "manifest.json") == tiny_run.manifest
    assert not (remote / "absent").is_file()
    with pytest.raises(DamagedFile, match=rf"s3://{BUCKET}/run/absent: no such file"):
        read_parquet(remote / "absent")
    with pytest.raises(DamagedFile, match=rf"s3://{BUCKET}/run/absent: no such file"):
        read_json(remote / "absent")
    with pytest.raises(ValueError, match="are read, not written"):
        path.open("wb")


def test_a_source_in_object_storage(remote, tiny_run, tmp_path):
    """Found, hashed, verified and read as the same file in a folder."""
    sources = [
        open_source(DatasetConfig(source="parquet", path=str(path), targets=(TARGET,)))
        for path in (remote / "crystals.parquet", tiny_run.crystals)
    ]
    there, here = (describe(source)["files"][0] for source in sources)
    assert there["path"] == f"s3://{BUCKET}/run/crystals.parquet"
    assert {**there, "path": ""} == {**here, "path": ""}
    write_json(tmp_path / "download.json", {"files": [there | {"sha256": "0"}]})
    with pytest.raises(DamagedFile, match="changed or gone since the download stage"):
        verify(tmp_path / "download.json")
    for one, other in zip(*(source.records() for source in sources), strict=True):
        assert (one.id, one.species, one.labels) == (other.id, other.species, other.labels)
        assert np.array_equal(one.lattice, other.lattice) and one.coords == other.coords
    with pytest.raises(ConfigError, match="no file s3://"):
        open_source(DatasetConfig(source="parquet", path=str(remote / "x"), targets=(TARGET,)))
    with pytest.raises(ConfigError, match="only parquet reads object storage"):
        open_source(DatasetConfig(source="json", path=str(remote / "x.json"), targets=(TARGET,)))


def test_graphs_of_crystals_in_object_storage(remote, tiny_run, tmp_path):
    config = GraphsConfig(cutoff_angstrom=TINY_CUTOFF, crystals_per_shard=5)
    manifest = write_graphs(remote / "crystals.parquet", tmp_path / "graphs", config)
    assert manifest == tiny_run.manifest


def test_training_data_from_object_storage(remote, tiny_run, tmp_path, monkeypatch, storage):
    """Shards are decoded to a folder of this machine; one that is damaged or gone there is named."""
    monkeypatch.setenv("DGLFRAMER_CACHE", str(tmp_path / "cache"))
    ids = read_split(remote / "split.parquet")["train"]
    assert ids == read_split(tiny_run.split)["train"]
    there, here = (GraphDataset(graphs, ids) for graphs in (remote / "graphs", tiny_run.graphs))
    assert len(list((tmp_path / "cache").iterdir())) == 1
    one, other = (dataset.collate(dataset.rows) for dataset in (there, here))
    for name, tensor in one.tensors().items():
        assert torch.equal(tensor, getattr(other, name)), name
    shutil.rmtree(tmp_path / "cache")
    entry = tiny_run.manifest["shards"][1]["file"]
    key = f"run/graphs/{entry}"
    content = (tiny_run.graphs / entry).read_bytes()
    for change in (
        lambda: storage.put_object(Bucket=BUCKET, Key=key, Body=content[:-1]),
        lambda: storage.delete_object(Bucket=BUCKET, Key=key),
    ):
        change()
        with pytest.raises(DamagedFile, match=rf"s3://.*{entry}.*not the bytes in the manifest"):
            GraphDataset(remote / "graphs", ids)
    storage.put_object(Bucket=BUCKET, Key=key, Body=content)
