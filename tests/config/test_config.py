"""The configuration: its generated files, its messages, and what a change of it makes the stages redo."""

import json

import jsonschema
import pytest
import yaml
from helpers.paths import ROOT
from hypothesis import given
from hypothesis import strategies as st

from dglframer.common.errors import ConfigError
from dglframer.config import Config, override, parse_config
from dglframer.config.networks import ENCODERS
from dglframer.config.stages import ENCODER_NUMBERS, STAGES, stage_settings
from dglframer.config.yaml_files import CONFIG_FILE, SCHEMA_FILE, default_yaml, schema_json

RATE = "training.learning_rate"
HEADS = "crystalframer.heads"


@pytest.mark.parametrize(
    ("file", "generate"), [(CONFIG_FILE, default_yaml), (SCHEMA_FILE, schema_json)]
)
def test_committed_files_are_the_generated_ones(file, generate):
    written = (ROOT / file).read_text(encoding="utf-8")
    assert written == generate(), "run `dglframer config --write` in the checkout"


def test_default_yaml_holds_exactly_the_defaults():
    values = yaml.safe_load(default_yaml())
    assert values == Config().model_dump(mode="json")
    assert parse_config(values) == Config()


def test_default_yaml_describes_every_key():
    lines = default_yaml().splitlines()
    keys = [line for line in lines if line.startswith("  ") and not line.startswith("   ")]
    assert all("  # " in line for line in keys)


def test_schema_accepts_the_defaults_and_refuses_what_config_refuses():
    schema = json.loads(schema_json())
    values = yaml.safe_load(default_yaml())
    jsonschema.validate(values, schema)
    for wrong in (
        {"modl": {}},
        {"crystalframer": {"width": "wide"}},
        {"crystalframer": {"head": 8}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


@pytest.mark.parametrize(
    ("values", "name", "hint"),
    [
        ({"crystalformer": {}}, "crystalformer", "crystalframer"),
        ({"training": {"learning_rat": 1}}, "training.learning_rat", "learning_rate"),
        ({"tune": {"serach": {}}}, "tune.serach", "search"),
        ({"tune": {"search": {"training.batchsize": {"choices": [1]}}}}, "batchsize", "batch_size"),
        ({"tune": {"search": {RATE: {"low": 1, "hihg": 2}}}}, f"{RATE}.hihg", "high"),
        ({"tune": {"search": {RATE: {"choices": [1], "choice": 1}}}}, f"{RATE}.choice", "choices"),
    ],
)
def test_unknown_key_is_named_with_the_nearest_valid_one(values, name, hint):
    with pytest.raises(ConfigError) as error:
        parse_config(values)
    assert name in str(error.value)
    assert f"did you mean {hint}?" in str(error.value) or f".{hint}?" in str(error.value)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"training": {"epochs": "many"}}, "training.epochs"),
        ({"training": {"epochs": 0}}, "training.epochs"),
        ({"training": {"averaged_epochs": 61}}, "training.averaged_epochs"),
        ({"training": {"learning_rate": float("nan")}}, RATE),
        ({"training": {"learning_rate": float("inf")}}, RATE),
        ({"training": None}, "training"),
        ({"graphs": {"cutoff_angstrom": 0}}, "graphs.cutoff_angstrom"),
        ({"graphs": {"cutoff_angstrom": 31}}, "graphs.cutoff_angstrom"),
        ({"crystalframer": {"frame": "min"}}, "crystalframer.frame"),
        ({"crystalframer": {"heads": 3}}, "crystalframer.heads"),
        ({"dataset": {"source": "web"}}, "dataset.source"),
        ({"dataset": {"source": "parquet"}}, "dataset.path"),
        ({"dataset": {"periodicity": "yes"}}, "dataset.periodicity"),
        ({"dataset": {"targets": []}}, "dataset.targets"),
        ({"dataset": {"max_rejected_fraction": 1.1}}, "dataset.max_rejected_fraction"),
        ({"split": {"val_fraction": 0.5, "test_fraction": 0.5}}, "split.val_fraction"),
        ({"split": {"method": "leave_element_out"}}, "split.elements"),
        ({"split": {"elements": ["Xx"]}}, "split.elements"),
        ({"split": {"method": "from_file"}}, "split.path"),
        ({"split": {"folds": 3, "fold": 3}}, "split.fold"),
        ({"split": {"fold": 1}}, "split.fold is for method kfold and matbench only"),
        (
            {"split": {"method": "random", "path": "a.csv"}},
            "split.path is for method from_file only",
        ),
        ({"split": {"path": "a.csv"}}, "split.path is for method from_file only"),
        ({"split": {"elements": ["Na"]}}, "split.elements is for method leave_element_out only"),
        (
            {"split": {"val_from": "2020-01-01", "test_from": "2021-01-01"}},
            "split.val_from is for method by_time only",
        ),
        ({"split": {"official_sizes": [8, 1, 1]}}, "split.official_sizes is for method official"),
        (
            {"dataset": {"source": "ase", "path": "x"}, "split": {"method": "canonical"}},
            "split.method canonical: ase has no split",
        ),
        ({"split": {"method": "by_time"}}, "split.method by_time: jarvis_minerals has no dates"),
        ({"split": {"seed": -1}}, "split.seed"),
        ({"tune": {"seed": 2**32}}, "tune.seed"),
        ({"dataset": {"targets": ["e", "date"]}}, "dataset.targets: date is the name of another"),
        ({"dataset": {"targets": ["e", "e"]}}, "dataset.targets: e is given twice"),
        ({"materials_project": {"sites_min": 9, "sites_max": 8}}, "materials_project.sites_min"),
        (
            {"materials_project": {"elements": ["Na"], "exclude_elements": ["Cl", "Na"]}},
            "materials_project: Na is both wanted and excluded",
        ),
        ({"split": {"val_from": "2020-01-01"}}, "split.val_from"),
        ({"split": {"val_from": "2020-01-01", "test_from": "2019-01-01"}}, "split.val_from"),
        ({"split": {"val_from": "last year", "test_from": "2019-01-01"}}, "split.val_from"),
        ({"split": {"official_sizes": [8, 1, 0]}}, "split.official_sizes"),
        ({"cleaning": {"duplicates": False}}, "cleaning.duplicates"),
        ({"cleaning": {"label_ranges": {"gap": [1, 0]}}}, "cleaning.label_ranges.gap"),
        ({"cleaning": {"label_tolerances": {"gap": -1}}}, "cleaning.label_tolerances.gap"),
        ({"dataset": {"repeated_ids": "last"}}, "dataset.repeated_ids"),
        ({"nbody": {"caps": ["none"]}}, "nbody.caps"),
        ({"nbody": {"simulations": [100, 10, 1]}}, "nbody.simulations"),
        ({"shapes": {"source": "scanobjectnn"}}, "shapes.path is needed"),
        ({"shapes": {"objects": [5, 1, 0]}}, "shapes.objects"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [0.5]}, "seeds"),
        ({"seeds": [0, 1, 0]}, "seeds: 0 is given twice"),
        ({"seeds": [-1]}, "^seeds.0: Input should be greater than or equal to 0$"),
        ({"seeds": [10**23]}, "^seeds.0: Input should be less than 4294967296$"),
        ({"nbody": {"seeds": [3, 3]}}, "nbody.seeds: 3 is given twice"),
        ({"tune": {"search": {RATE: {"low": 2, "high": 1}}}}, f"tune.search.{RATE}"),
        ({"tune": {"search": {RATE: {"low": 0, "high": 1, "log": True}}}}, f"tune.search.{RATE}"),
        ({"tune": {"search": {RATE: {"low": 1}}}}, f"tune.search.{RATE}.high"),
        ({"tune": {"search": {RATE: {"choices": []}}}}, f"tune.search.{RATE}.choices"),
        ({"tune": {"search": {RATE: {"choices": [1e-3, -1]}}}}, f"tune.search.{RATE}: -1 will not"),
        (
            {"tune": {"search": {RATE: {"low": -1, "high": 1}}}},
            f"tune.search.{RATE}: -1.0 will not",
        ),
        ({"tune": {"search": {HEADS: {"low": 1.5, "high": 8}}}}, f"tune.search.{HEADS}: low and"),
        (
            {"tune": {"search": {"crystalframer.frame": {"low": 1, "high": 8}}}},
            "crystalframer.frame: has no range",
        ),
        ({"tune": {"search": {HEADS: {"choices": [3, 5, 7]}}}}, "tune.search: no combination"),
        ({"tune": {"sampler": "tpee"}}, "tune.sampler"),
        ({"tune": {"sampler": "grid"}}, f"tune.search.{RATE}: a grid needs choices"),
        (
            {"tune": {"sampler": "grid", "trials": 4, "search": {HEADS: {"choices": [2, 3, 4]}}}},
            "tune.trials: the grid has 2 points",
        ),
        ({"tune": {"storage": "jurnal"}}, "tune.storage"),
        ({"tune": {"storage": "postgresql://me:secret@host/db"}}, "tune.storage: no passwords"),
        ({"tune": {"storage": "mysql://host/db?password=secret"}}, "tune.storage: no passwords"),
    ],
)
def test_wrong_value_names_its_key(values, name):
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")) as error:
        parse_config(values)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "tune",
    [
        {"search": {HEADS: {"low": 3, "high": 4}}},
        {"search": {HEADS: {"choices": [3, 5]}, "crystalframer.width": {"choices": [64, 9]}}},
        {"search": {HEADS: {"choices": [3]}}, "trials": 0},
        {
            "search": {
                HEADS: {"low": 3, "high": 6e4},
                "crystalframer.window_sigmas": {"choices": [None, 4]},
            }
        },
        {"search": {"training.epochs": {"low": 1, "high": 9}}},
        {"search": {"training.averaged_epochs": {"choices": [1, 3]}}, "epochs": 2},
        {"storage": "env:STUDY"},
        {"storage": "postgresql://me@host/db"},
    ],
)
def test_a_search_with_a_possible_combination_is_accepted(tune):
    checked = parse_config({"tune": tune}).tune
    default = Config().tune
    assert checked.search.keys() == tune.get("search", default.search).keys()
    assert checked.storage == tune.get("storage", default.storage)


def test_every_mistake_is_reported_at_once():
    with pytest.raises(ConfigError) as error:
        parse_config({"modle": {}, "seeds": [], "training": {"epochs": 0}})
    assert len(str(error.value).splitlines()) == 3


def test_config_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        Config().training.epochs = 3


@pytest.mark.parametrize("source", ["folder", "json", "ase", "parquet", "megnet", "qm9"])
def test_a_source_needs_no_method_of_splitting(source):
    dataset = {"source": source, "path": "x", "targets_csv": "y", "targets": ["e"]}
    assert parse_config({"dataset": dataset}).split.method is None


def test_override_replaces_dotted_keys_and_validates():
    changed = override(Config(), {RATE: 2e-3, "training.batch_size": 8})
    assert (changed.training.learning_rate, changed.training.batch_size) == (2e-3, 8)
    assert override(changed, {RATE: 1e-3, "training.batch_size": 16}) == Config()


@pytest.mark.parametrize(
    "key", ["training.epochs", "training.nope", "nope.epochs", "epochs", "seeds.0"]
)
def test_override_names_a_wrong_key_or_value(key):
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
        override(Config(), {key: -1})


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"dataset": {"targets": ["ehull"]}}, {"download", "crystals"}),
        ({"dataset": {"max_rejected_fraction": 0.5}}, {"download", "crystals"}),
        ({"split": {"seed": 1}}, {"split"}),
        ({"cleaning": {"duplicates": "drop"}}, {"clean"}),
        ({"graphs": {"cutoff_angstrom": 7}}, {"graphs"}),
        ({"graphs": {"crystals_per_shard": 7}}, {"graphs"}),
        ({"crystalframer": {"width": 64}}, {"tune", "train", "compare"}),
        ({"training": {"epochs": 50}}, {"tune", "train", "compare"}),
        ({"training": {"init_from": "/a/model"}}, set()),  # an input
        ({"tfn": {"layers": 2}}, {"compare"}),
        ({"encoder": "tfn"}, {"tune", "train", "compare"}),
        ({"tune": {"trials": 9}}, {"tune"}),
        ({"tune": {"sampler": "random"}}, {"tune"}),
        ({"tune": {"workers": 4, "max_retries": 1, "storage": "journal"}}, set()),
        ({"nbody": {"data_seed": 1}}, {"nbody_simulate", "nbody_bounds", "nbody_train"}),
        ({"nbody": {"models": ["egnn"], "seeds": [0], "caps": ["norm"]}}, set()),
        ({"shapes": {"objects": [5, 1, 2]}}, {"shapes_data", "shapes_train"}),
        ({"shapes": {"models": ["tfn"], "seeds": [0], "path": "/scans"}}, set()),
        ({"seeds": [3]}, set()),  # a model more, nothing of the others anew
    ],
)
def test_a_changed_key_reaches_only_its_stages(change, stages):
    before, after = Config(), parse_config(change)
    changed = {s for s in STAGES if stage_settings(before, s) != stage_settings(after, s)}
    assert changed == stages


def test_every_section_belongs_to_a_stage():
    sections = {name for _, names in STAGES.values() for name in names}
    assert "encoder" in sections  # and with it the section of the chosen one
    assert sections == set(Config.model_fields) - {"seeds"}


def test_the_settings_of_other_encoders_make_no_stage_run_again():
    for encoder in ENCODERS:
        chosen = Config(encoder=encoder)
        settings = stage_settings(chosen, "train")
        assert settings["encoder"] == encoder
        assert set(settings) & set(ENCODERS) == {encoder}


def test_the_number_of_an_encoder_reaches_the_stages_that_train_it(monkeypatch):
    def settings(encoder: str) -> dict[str, object]:
        return {s: stage_settings(Config.model_validate({"encoder": encoder}), s) for s in STAGES}

    before = {encoder: settings(encoder) for encoder in ENCODERS}
    monkeypatch.setitem(ENCODER_NUMBERS, "tfn", ENCODER_NUMBERS["tfn"] + 1)
    changed = {e: {s for s in STAGES if settings(e)[s] != before[e][s]} for e in ENCODERS}
    assert changed["tfn"] == {"tune", "train", "compare"}
    assert changed["crystalframer"] == changed["se3_transformer"] == {"compare"}


def test_an_encoder_cannot_see_further_than_the_graphs():
    with pytest.raises(ConfigError, match=r"tfn.cutoff_angstrom must not exceed graphs"):
        parse_config({"encoder": "tfn", "graphs": {"cutoff_angstrom": 4.0}})
    parse_config({"graphs": {"cutoff_angstrom": 4.0}})  # of an encoder that is not chosen


def test_the_search_is_over_the_chosen_encoder():
    search = {"se3_transformer.channels": {"choices": [8, 16]}}
    config = parse_config({"encoder": "se3_transformer", "tune": {"search": search}})
    assert override(config, {"se3_transformer.channels": 8}).se3_transformer.channels == 8
    with pytest.raises(ConfigError, match=r"tune.search.se3_transformer.channels: no such"):
        parse_config({"tune": {"search": search}})


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
keys = st.sampled_from(["low", "choices", "epochs", "search", RATE, "heads", "targets", "x"])
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys, v, max_size=3), max_leaves=6
)


@given(st.dictionaries(st.sampled_from([*Config.model_fields, "x"]), values, max_size=3) | values)
def test_no_value_breaks_the_parser(plain):
    try:
        parse_config(plain)
    except ConfigError as error:
        assert str(error)


def test_names_of_variants_are_file_names():
    with pytest.raises(ConfigError, match=r"letters, digits"):
        parse_config({"compare": {"variants": {"a/b": {}}}})
