"""Settings of the encoders. The class of the settings tells the encoder of a network."""

from typing import Literal

from pydantic import Field, model_validator

from dglframer.config.section import Section

# Far beyond any network that trains; a model.json may not ask for more.
MAX_LAYERS = 256
MAX_WIDTH = 65_536

# The operations whose equivalent atoms are computed once; each group is a part of the next.
SymmetryGroup = Literal["none", "proper", "all"]
SYMMETRY_GROUPS: tuple[SymmetryGroup, ...] = ("none", "proper", "all")
FrameMethod = Literal["max", "weighted_pca", "max_static", "pca", "lattice", "none"]


class NetworkConfig(Section):
    """Settings that all networks share: the part after the encoder."""

    pooling: Literal["mean", "sum", "max"] = Field(
        "mean", description="over atoms; sum for properties proportional to the size of a molecule"
    )
    element_properties: bool = Field(
        True,
        description="begin with what chemistry knows of each element (radius, group, ...); published: false",
    )


class CrystalFramerConfig(NetworkConfig):
    """CrystalFramer (ICLR 2025); the defaults are the published model, and ``element_properties``."""

    frame: FrameMethod = Field(
        "max",
        description="max, weighted_pca (dynamic), max_static, pca, lattice or none (Crystalformer)",
    )
    frame_ties: Literal["average", "first"] = Field(
        "average", description="max frames: average over tied axes, or the first (not invariant)"
    )
    frame_tie_width: float = Field(
        0.005,
        gt=0,
        description="an image ties with the best if its log weight is less than this below; its share falls",
    )
    even_third_axis: bool = Field(
        False,
        description="max frames: only the size of the cosine with e3 counts, so that mirror images are alike",
    )
    blocks: int = Field(4, ge=1, le=MAX_LAYERS, description="self-attention blocks")
    width: int = Field(128, ge=1, le=MAX_WIDTH, description="features per atom")
    heads: int = Field(8, ge=1, le=MAX_WIDTH, description="attention heads; divides width")
    feedforward: int = Field(
        512, ge=1, le=MAX_WIDTH, description="hidden width of each feed-forward layer"
    )
    r0_angstrom: float = Field(1.4, gt=0, description="width sigma of the attention at rho = 1")
    rho_floor: float = Field(0.5, gt=0, lt=1, description="lower bound b of rho = (r0/sigma)^2")
    rho_slope: float = Field(0.1, gt=0, description="slope beta of rho at the origin")
    distance_bins: int = Field(
        64, ge=2, le=MAX_WIDTH, description="Gaussians of the distance basis"
    )
    distance_max_angstrom: float = Field(14.0, gt=0, description="centre of the last of them")
    distance_width_bins: float = Field(1.0, gt=0, description="their width, in bin spacings")
    distance_coefficient: float = Field(1.0, description="c_dist")
    angle_bins: int = Field(64, ge=2, le=MAX_WIDTH, description="Gaussians of each cosine basis")
    angle_width_bins: float = Field(4.0, gt=0, description="their width, in bin spacings")
    angle_coefficient: float = Field(1.0, description="c_ang")
    window_sigmas: float | None = Field(
        None, gt=0, description="cut the Gaussians (4 in published checkpoints); null: whole"
    )
    symmetry: Literal["auto", "none"] = Field(
        "auto",
        description="auto: equivalent atoms of a crystal are computed once, where the frame allows it",
    )

    @model_validator(mode="after")
    def heads_divide_width(self) -> "CrystalFramerConfig":
        if self.width % self.heads:
            raise ValueError("crystalframer.heads must divide crystalframer.width")
        return self

    @model_validator(mode="after")
    def even_third_axis_fits(self) -> "CrystalFramerConfig":
        if not self.even_third_axis:
            return self
        if self.frame not in ("max", "max_static", "none"):  # a mirror turns other axes of these
            raise ValueError("crystalframer.even_third_axis is for frame max and max_static only")
        if self.window_sigmas is not None:  # cut on one side, a Gaussian has no mirror image
            raise ValueError("crystalframer.even_third_axis needs window_sigmas: null")
        return self


class EquivariantConfig(NetworkConfig):
    """Settings that the TFN and the SE(3)-Transformer share."""

    degrees: int = Field(2, ge=1, le=6, description="features of degree 0 to degrees - 1")
    channels: int = Field(16, ge=1, le=MAX_WIDTH, description="channels of each degree")
    layers: int = Field(
        3, ge=1, le=MAX_LAYERS, description="layers before the last, whose output is pooled"
    )
    cutoff_angstrom: float = Field(
        5.0, gt=0, description="the network sees the edges of the graphs that are shorter"
    )
    parity: Literal["so3", "o3"] = Field(
        "so3", description="all kernels (published), or only those that keep natural parity"
    )
    norm_floor: float = Field(
        0.1, ge=0, description="shorter features are not scaled up; 0: published"
    )


class TfnConfig(EquivariantConfig):
    """Tensor field network: the SE(3)-Transformer without attention."""


class Se3TransformerConfig(EquivariantConfig):
    """SE(3)-Transformer (NeurIPS 2020) with a smooth cutoff for crystals (docs/models/se3_transformer.md)."""

    heads: int = Field(
        4, ge=1, le=MAX_WIDTH, description="attention heads; divides channels / value_divisor"
    )
    value_divisor: int = Field(
        2, ge=1, le=MAX_WIDTH, description="values have channels / value_divisor"
    )
    self_interaction: Literal["linear", "attentive"] = Field(
        "linear", description="how an inner layer mixes channels (published: 1x1 or att)"
    )
    relative_position: Literal["none", "add", "concatenate"] = Field(
        "none", description="how kernels take the relative position as a feature"
    )

    @model_validator(mode="after")
    def heads_divide_channels(self) -> "Se3TransformerConfig":
        if self.channels % self.value_divisor or self.channels // self.value_divisor % self.heads:
            raise ValueError(
                "se3_transformer.value_divisor and heads must divide channels one after the other"
            )
        return self


EncoderName = Literal["crystalframer", "se3_transformer", "tfn"]
EncoderConfig = CrystalFramerConfig | Se3TransformerConfig | TfnConfig

# The settings of each encoder, in the section of the configuration with its name.
ENCODERS: dict[EncoderName, type[EncoderConfig]] = {
    "crystalframer": CrystalFramerConfig,
    "se3_transformer": Se3TransformerConfig,
    "tfn": TfnConfig,
}


def encoder_of(settings: EncoderConfig) -> EncoderName:
    """The name of the encoder to which settings belong."""
    return next(name for name, kind in ENCODERS.items() if type(settings) is kind)


def symmetry_group(settings: EncoderConfig) -> SymmetryGroup:
    """The operations under which equivalent atoms have equal features, so that one stands for all.

    Distances alone are the same after every operation, right-handed frames after proper ones, and after
    every one if only the size of the cosine with the third axis counts. The frames of a cell (pca, lattice)
    do not turn with an operation, and where rounding chooses between equal axes (weighted_pca, the first of
    tied ones) equivalent atoms have different ones. Features of degree > 0 turn with the operation: the
    SE(3)-Transformer and the TFN compute every atom.
    """
    if not isinstance(settings, CrystalFramerConfig) or settings.symmetry == "none":
        return "none"
    if settings.frame == "none":
        return "all"
    if settings.frame not in ("max", "max_static") or settings.frame_ties != "average":
        return "none"
    return "all" if settings.even_third_axis else "proper"
