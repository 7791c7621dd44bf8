"""Settings of one training."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from dglframer.config.section import Section
from dglframer.pretrained.registry import find


class TrainingConfig(Section):
    """Optimisation: the recipe of docs/guide/training.md, with epochs and batch for a small data set."""

    epochs: int = Field(60, ge=1, description="passes over the training set")
    averaged_epochs: int = Field(
        0, ge=0, description="last epochs with a fixed rate and weights averaged over steps"
    )
    batch_size: int = Field(16, ge=1, description="crystals per step")
    edges_per_batch: int | None = Field(
        None, ge=1, description="close a batch before it has more edges; null: by count alone"
    )
    atoms_per_batch: int | None = Field(
        None, ge=1, description="close a batch before it has more atoms; null: by count alone"
    )
    drop_last: bool = Field(
        False, description="leave out the last batch of an epoch if it is short"
    )
    max_atoms: int | None = Field(
        None, ge=1, description="training leaves larger crystals out; null: none"
    )
    optimizer: Literal["muon", "adamw"] = Field(
        "muon", description="muon for the weight matrices and adamw for the rest, or adamw for all"
    )
    learning_rate: float = Field(1e-3, gt=0, description="of AdamW before the schedule")
    muon_learning_rate: float = Field(0.005, gt=0, description="of Muon before the schedule")
    schedule: Literal["cosine", "inverse_sqrt"] = Field(
        "cosine", description="of the rates: cosine to a hundredth, or rate x sqrt(T / (T + step))"
    )
    decay_steps: float = Field(4000, gt=0, description="T of inverse_sqrt")
    warmup_fraction: float = Field(
        0.03, ge=0, le=1, description="cosine: share of the training in which the rates rise"
    )
    average_decay: float | None = Field(
        0.999,
        gt=0,
        lt=1,
        description="of the exponential average of the weights, where averaged_epochs is 0; null: none",
    )
    weight_decay: float = Field(1e-5, ge=0, description="AdamW, weights only")
    bias_decay: float = Field(0.0, ge=0, description="AdamW, biases (the released code: 0.01)")
    gradient_clip_norm: float = Field(1.0, gt=0, description="maximal norm of the whole gradient")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of linear layers in training; all else is float32"
    )
    init_from: str | None = Field(
        None, description="fine-tuning: a model directory, or the name of a shipped model"
    )
    freeze: tuple[str, ...] = Field(
        (),
        description="fine-tuning: parameters whose names begin so stay fixed, e.g. blocks.0",
    )
    target_statistics: Literal["refit", "keep"] = Field(
        "refit",
        description="fine-tuning: mean and deviation of the new targets (refit) or of the model",
    )
    stop_after_nonfinite: int = Field(
        3, ge=1, description="stop after so many steps with a NaN or infinite loss or gradient"
    )
    checkpoint_minutes: float = Field(
        10.0, ge=0, description="between checkpoints inside an epoch; 0: after every step"
    )
    tensorboard: bool = Field(False, description="write metrics for TensorBoard, too")

    @field_validator("init_from")
    @classmethod
    def path_of_shipped_model(cls, given: str | None) -> str | None:
        """The first member's folder, for the name of a shipped model."""
        one = find(given) if given else None
        return str(one.members()[0]) if one else given

    @model_validator(mode="after")
    def keys_fit_each_other(self) -> "TrainingConfig":
        if self.init_from is None and (self.freeze or self.target_statistics == "keep"):
            raise ValueError("training.freeze and training.target_statistics need init_from")
        if self.averaged_epochs > self.epochs:
            raise ValueError("training.averaged_epochs must not exceed training.epochs")
        return self
