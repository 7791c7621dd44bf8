"""Settings of the data: sources, cleaning, splits, graphs."""

from datetime import date
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from dglframer.common.elements import atomic_number
from dglframer.common.transforms import TransformName
from dglframer.config.section import Section, Seed, distinct

OwnSource = Literal["folder", "json", "ase", "parquet"]
OWN_SOURCES: tuple[str, ...] = get_args(OwnSource)
ReferenceName = Literal["composition"]
SourceName = Literal[
    "jarvis_minerals",
    "dft_3d_2021",
    "dft_3d",
    "megnet",
    "oqmd_3d_no_cfid",
    "materials_project",
    "qm9",
    OwnSource,
]

# Columns of crystals.parquet and of the shards beside the targets: no target has one of these names.
COLUMNS = (
    *("id", "source", "split", "file_position", "date", "numbers", "lattice", "frac_coords"),
    *("src", "dst", "image", "proper_orbit", "orbit"),
)

MAX_CUTOFF_ANGSTROM = 30.0  # of 0.1 atoms per cubic angstrom, 11,000 are within it

# Sources that may have a split of their own, and sources that may have dates.
SPLIT_SOURCES: tuple[SourceName, ...] = ("jarvis_minerals", "parquet")
DATED_SOURCES: tuple[SourceName, ...] = ("materials_project", "json", "parquet")


class DatasetConfig(Section):
    """The source of the crystals and the properties to learn."""

    source: SourceName = Field(
        "jarvis_minerals", description="`dglframer sources` lists all of them"
    )
    path: str | None = Field(
        None, description="your folder or file; for a JARVIS set its file, if you have it already"
    )
    targets_csv: str | None = Field(
        None,
        description="folder source: CSV of ids (file names) and targets; null: its id_prop.csv",
    )
    targets: Annotated[tuple[str, ...], AfterValidator(distinct)] = Field(
        ("formation_energy_peratom",), description="properties to learn"
    )
    target_units: dict[str, str] = Field(
        {}, description="units of targets; needed where the source does not state them"
    )
    target_transforms: dict[str, TransformName] = Field(
        {}, description="target: log10, which is learned in its place; results stay in the unit"
    )
    target_references: dict[str, ReferenceName] = Field(
        {}, description="target: composition, a linear model whose rest is learned in its place"
    )
    max_rejected_fraction: float = Field(
        0.05,
        ge=0,
        le=1,
        description="stop if more than this share of the labelled records is rejected",
    )
    repeated_ids: Literal["first", "all"] = Field(
        "first", description="of records with one id: the first, or all, as id, id#2, id#3"
    )

    periodicity: Literal["as_stated", "assume_periodic"] = Field(
        "as_stated",
        description="own data: assume_periodic makes crystals of slabs and of cells without pbc",
    )

    @model_validator(mode="after")
    def targets_are_no_other_columns(self) -> "DatasetConfig":
        for name in self.targets:
            if name in COLUMNS:
                raise ValueError(f"dataset.targets: {name} is the name of another column")
        return self

    @model_validator(mode="after")
    def transforms_and_references_are_of_targets(self) -> "DatasetConfig":
        for key in ("target_transforms", "target_references"):
            for name in getattr(self, key):
                if name not in self.targets:
                    raise ValueError(f"dataset.{key}.{name}: not one of dataset.targets")
        return self

    @model_validator(mode="after")
    def paths_where_needed(self) -> "DatasetConfig":
        if self.source in OWN_SOURCES and not self.path:
            raise ValueError(f"dataset.path is needed for source {self.source}")
        return self


class MaterialsProjectConfig(Section):
    """The query to the Materials Project, if that is the source."""

    elements: tuple[str, ...] = Field((), description="the crystal has all of these")
    exclude_elements: tuple[str, ...] = Field((), description="the crystal has none of these")
    sites_min: int | None = Field(None, ge=1, description="minimum of sites in the cell")
    sites_max: int | None = Field(None, ge=1, description="maximum of sites in the cell")
    hull_energy_max_ev_per_atom: float | None = Field(
        None, ge=0, description="maximum of the energy above the hull"
    )
    fields: tuple[str, ...] = Field(
        (), description="further fields to fetch; as targets they need no new query later"
    )

    @model_validator(mode="after")
    def elements_exist(self) -> "MaterialsProjectConfig":
        for symbol in (*self.elements, *self.exclude_elements):
            if atomic_number(symbol) is None:
                raise ValueError(f"materials_project: no element {symbol}")
        both = set(self.elements) & set(self.exclude_elements)
        if both:
            raise ValueError(f"materials_project: {min(both)} is both wanted and excluded")
        return self

    @model_validator(mode="after")
    def some_number_of_sites_is_left(self) -> "MaterialsProjectConfig":
        if self.sites_min and self.sites_max and self.sites_min > self.sites_max:
            raise ValueError("materials_project.sites_min must not exceed sites_max")
        return self


Check = Literal["ignore", "report", "drop"]


class CleaningConfig(Section):
    """Doubts about valid crystals: ignore, report (changes nothing) or drop (in no split)."""

    duplicates: Check = Field(
        "report", description="all but the first crystal of one structure (docs/guide/splits.md)"
    )
    unphysical_labels: Check = Field("report", description="labels outside their range")
    label_ranges: dict[str, tuple[float, float]] = Field(
        {}, description="target: [low, high]; docs/guide/splits.md lists the known ranges"
    )
    disagreements: Check = Field(
        "report", description="one id with two structures, one structure with two labels"
    )
    label_tolerances: dict[str, float] = Field(
        {}, description="target: maximal difference between two labels of one structure"
    )

    @model_validator(mode="after")
    def ranges_are_not_empty(self) -> "CleaningConfig":
        for name, (low, high) in self.label_ranges.items():
            if low > high:
                raise ValueError(f"cleaning.label_ranges.{name}: low must not exceed high")
        for name, tolerance in self.label_tolerances.items():
            if tolerance < 0:
                raise ValueError(f"cleaning.label_tolerances.{name} must not be negative")
        return self


SplitMethod = Literal[
    "canonical",
    "official",
    "random",
    "kfold",
    "by_composition",
    "by_prototype",
    "leave_element_out",
    "by_time",
    "matbench",
    "from_file",
]


KEYS_OF_METHODS: dict[str, tuple[SplitMethod, ...]] = {
    "official_sizes": ("official",),
    "fold": ("kfold", "matbench"),
    "elements": ("leave_element_out",),
    "val_from": ("by_time",),
    "test_from": ("by_time",),
    "path": ("from_file",),
}


class SplitConfig(Section):
    """Which crystals train, validate and test (docs/guide/splits.md)."""

    method: SplitMethod | None = Field(
        None,
        description="null: canonical (the source's own) if the source has a split, else random; or "
        + ", ".join(get_args(SplitMethod)),
    )
    seed: Seed = Field(123, description="seed of every shuffle; official is defined with 123")
    val_fraction: float = Field(0.1, gt=0, lt=1, description="share of val, if it is drawn")
    test_fraction: float = Field(0.1, gt=0, lt=1, description="share of test, if it is drawn")
    official_sizes: tuple[int, int, int] | None = Field(
        None, description="official: train, val, test counts; null: 80, 10 and 10 %, rounded down"
    )
    folds: int = Field(5, ge=2, description="kfold: number of folds")
    fold: int = Field(0, ge=0, description="kfold, matbench: number of the test fold, from 0")
    elements: tuple[str, ...] = Field(
        (), description="leave_element_out: crystals with any of these elements are test"
    )
    val_from: date | None = Field(
        None, description="by_time: first date of val, as 2020-12-31; null: by val_fraction"
    )
    test_from: date | None = Field(
        None, description="by_time: first date of test; null: by test_fraction"
    )
    path: str | None = Field(
        None, description="from_file: .csv or .parquet of id, split, or .json of part: [ids]"
    )

    @model_validator(mode="after")
    def method_has_what_it_needs(self) -> "SplitConfig":
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("split.val_fraction + split.test_fraction must be below 1")
        if self.official_sizes and min(self.official_sizes) < 1:
            raise ValueError("split.official_sizes must be positive")
        if self.fold >= self.folds:
            raise ValueError("split.fold must be below split.folds")
        if self.method == "leave_element_out" and not self.elements:
            raise ValueError("split.elements is needed for method leave_element_out")
        for symbol in self.elements:
            if atomic_number(symbol) is None:
                raise ValueError(f"split.elements: no element {symbol}")
        if self.method == "from_file" and not self.path:
            raise ValueError("split.path is needed for method from_file")
        for key, methods in KEYS_OF_METHODS.items():
            if getattr(self, key) and self.method not in methods:
                raise ValueError(f"split.{key} is for method {' and '.join(methods)} only")
        if (self.val_from is None) != (self.test_from is None):
            raise ValueError("split.val_from and split.test_from are given together or not at all")
        if self.val_from and self.test_from and not self.val_from < self.test_from:
            raise ValueError("split.val_from must be before split.test_from")
        return self


class GraphsConfig(Section):
    """Periodic graphs: every image within the cutoff is an edge."""

    cutoff_angstrom: float = Field(
        8.4,
        gt=0,
        le=MAX_CUTOFF_ANGSTROM,
        description="6 x r0 loses 3e-6 of a layer; weights reach 6 x 1.98 A",
    )
    crystals_per_shard: int = Field(1024, ge=1, description="rows of one Parquet shard")
    edges_per_shard: int = Field(
        4_000_000, ge=1, description="close a shard before its expected edges exceed this"
    )
