"""The frames that are shown are those of the model's own forward pass."""

import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import crystals
from helpers.report_run import FRAMED_CUTOFF, framed_model

from dglframer.attention.reference.attention import ReferenceAttention
from dglframer.cli import main as cli
from dglframer.common.errors import UserError
from dglframer.config.networks import TfnConfig
from dglframer.graphs.batch import batch_graphs
from dglframer.networks.build import build
from dglframer.networks.frames_seen import RecordedAttention, distinct_axes, frames_seen
from dglframer.networks.model_directory import Target, TrainedModel, save_model
from dglframer.report.frames import frames_content, write_frames
from dglframer.structures.crystal import Crystal
from dglframer.structures.periodic_graph import build_graph

TOLERANCE = 1e-10  # float64


def images(crystal: Crystal, atom: int) -> list[tuple[int, np.ndarray]]:
    """Every (neighbour, r) within the cutoff, by plain loops."""
    found = []
    for j, shift in itertools.product(
        range(len(crystal.numbers_N)), itertools.product(range(-4, 5), repeat=3)
    ):
        r_3 = (crystal.coords_N3[j] + shift - crystal.coords_N3[atom]) @ crystal.lattice_33
        if np.linalg.norm(r_3) <= FRAMED_CUTOFF:
            found.append((j, r_3))
    return found


@pytest.mark.parametrize("block", [0, 1])
def test_weights_are_those_of_the_formula(block: int) -> None:
    """softmax over every image of q.k / sqrt(D) - r^2 / 2 sigma^2, with q, k, sigma of the layers."""
    crystal, atom = crystals.triclinic(), 1
    model = framed_model(crystal)
    graph = build_graph(crystal, FRAMED_CUTOFF)
    (seen,) = frames_seen(model, graph, [atom])
    network = model.network.double()
    batch = batch_graphs([graph], torch.float64).without_dgl()
    with torch.no_grad():
        x_NW = network.embedding(batch.numbers_N - 1)
        for before in network.blocks[:block]:
            x_NW = before(x_NW, ReferenceAttention(batch, network.settings))
        layer = network.blocks[block].attention
        q_NHD, k_NHD = (f(x_NW).unflatten(1, (2, -1)) for f in (layer.query, layer.key))
        decay_NH = layer.decay(q_NHD)
    for head in range(2):
        logits = {}
        for j, r_3 in images(crystal, atom):
            dot = float(q_NHD[atom, head] @ k_NHD[j, head]) / math.sqrt(8)
            key = (j, *np.round(r_3, 6) + 0.0)
            logits[key] = dot - float(decay_NH[atom, head]) * float(r_3 @ r_3)
        total = sum(map(math.exp, logits.values()))
        assert len(logits) == len(seen.r_F3)
        for j, r_3, weight in zip(
            seen.neighbour_F, seen.r_F3, seen.weights_LHF[block, head], strict=True
        ):
            expected = math.exp(logits[(int(j), *np.round(r_3, 6) + 0.0)]) / total
            assert weight == pytest.approx(expected, abs=1e-9)


def test_axes_follow_from_the_weights() -> None:
    """e1 points to the largest weight, e2 to the largest (1 - |cos|) weight, made perpendicular."""
    crystal = crystals.triclinic()
    for seen in frames_seen(framed_model(crystal), build_graph(crystal, FRAMED_CUTOFF), [0, 1]):
        others = np.linalg.norm(seen.r_F3, axis=1) > 1e-3
        u_F3 = seen.r_F3[others] / np.linalg.norm(seen.r_F3[others], axis=1)[:, None]
        for block, head in itertools.product(range(2), range(2)):
            weight_F = seen.weights_LHF[block, head][others]
            (frame,) = seen.frames[block][head]
            e1, e2, e3 = frame.axes_33
            assert e1 == pytest.approx(u_F3[weight_F.argmax()], abs=TOLERANCE)
            second = u_F3[((1 - abs(u_F3 @ e1)) * weight_F).argmax()]
            across = second - (second @ e1) * e1
            assert e2 == pytest.approx(across / np.linalg.norm(across), abs=1e-7)
            assert e3 == pytest.approx(np.cross(e1, e2), abs=TOLERANCE)
            assert frame.share == 1


def test_tied_frames_are_all_there() -> None:
    """From Na of rock salt six Cl are equal: six e1 of equal share, and frames that fill the cube."""
    crystal = crystals.rocksalt()
    (seen,) = frames_seen(framed_model(crystal), build_graph(crystal, FRAMED_CUTOFF), [0])
    for heads in seen.frames:
        for frames in heads:
            e1 = distinct_axes(frames, 0)
            assert len(frames) > len(e1) and len(e1) in (6, 12)
            assert [share for _, share in e1] == pytest.approx([1 / len(e1)] * len(e1))
            assert sum(frame.share for frame in frames) == pytest.approx(1)
            assert sum(axis for axis, _ in e1) == pytest.approx(np.zeros(3), abs=1e-9)


def test_the_recorded_pass_is_the_models_own() -> None:
    """The features after it are those that the model computes with its fastest backend."""
    crystal = crystals.quartz()
    network = framed_model(crystal).network.double()
    batch = batch_graphs([build_graph(crystal, FRAMED_CUTOFF)], torch.float64).without_dgl()
    attention = RecordedAttention(batch, network.settings)
    with torch.no_grad():
        recorded, own = network.attended(batch, attention), network.scalars(batch)
    assert (recorded - own).abs().max() < TOLERANCE
    assert len(attention.blocks) == 2


def test_the_model_itself_stays_as_it_is() -> None:
    crystal = crystals.rocksalt()
    model = framed_model(crystal)
    frames_seen(model, build_graph(crystal, FRAMED_CUTOFF), [0])
    assert next(model.network.parameters()).dtype == torch.float32


def test_without_frames_there_are_weights_alone() -> None:
    crystal = crystals.rocksalt()
    model = framed_model(crystal, frame="none")
    (seen,) = frames_seen(model, build_graph(crystal, FRAMED_CUTOFF), [1])
    assert seen.frames == [[[], []], [[], []]]
    assert seen.weights_LHF.sum(2) == pytest.approx(np.ones((2, 2)))
    assert frames_content(model, build_graph(crystal, FRAMED_CUTOFF), "")["axes"] == []


def test_another_encoder_is_refused() -> None:
    network = build(TfnConfig(degrees=1, channels=4, layers=1), 1).draw(0)
    model = TrainedModel(network, FRAMED_CUTOFF, (Target("energy", "eV", 0.0, 1.0),), {})
    with pytest.raises(UserError, match="no CrystalFramer"):
        frames_seen(model, build_graph(crystals.rocksalt(), FRAMED_CUTOFF), [0])


def test_the_page_holds_the_numbers(tmp_path: Path) -> None:
    crystal = crystals.quartz()
    model, graph = framed_model(crystal), build_graph(crystal, FRAMED_CUTOFF)
    write_frames(model, graph, "A <test>.", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "A &lt;test&gt;." in page and "default-src 'none'" in page
    block = re.search(r'<script type="application/json" id="frames-data">(.*?)</script>', page)
    assert block
    data = json.loads(block[1])
    assert [one["symbol"] for one in data["atoms"]] == ["Si", "O"], "the distinct ones"
    every = frames_seen(model, graph, [one["atom"] for one in data["atoms"]])
    for one, seen in zip(data["atoms"], every, strict=True):
        for b, h in itertools.product(range(2), range(2)):
            pairs = one["weights"][b][h]
            weights = sorted((weight for _, weight in pairs), reverse=True)
            largest = np.sort(seen.weights_LHF[b, h])[::-1][: len(pairs)]
            assert weights == [round(10000 * float(w)) for w in largest]
            assert sum(share for *_, share in one["frames"][b][h]["tied"]) == pytest.approx(
                1, abs=1e-3
            )


def test_the_command_writes_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(framed_model(crystals.cscl_like()), tmp_path / "model")
    (tmp_path / "cscl.cif").write_text(crystals.CIF, encoding="utf-8")
    words = ["dglframer", "frames", str(tmp_path / "model"), str(tmp_path / "cscl.cif")]
    monkeypatch.setattr("sys.argv", [*words, "-o", str(tmp_path / "page.html")])
    assert cli.main() == 0
    assert "What the model sees from the atoms of CsCl" in (tmp_path / "page.html").read_text()
    monkeypatch.setattr("sys.argv", [*words, "--id", "other", "-o", str(tmp_path / "p.html")])
    assert cli.main() == 2
