"""Settings of one training."""

from typing import Literal

from pydantic import Field, model_validator

from dglframer.config.section import Section


class TrainingConfig(Section):
    """Optimisation: the paper's recipe, with epochs and batch for a small data set."""

    epochs: int = Field(30, ge=1, description="passes over the training set")
    averaged_epochs: int = Field(
        8, ge=0, description="last epochs, at a frozen rate, whose every step is averaged"
    )
    batch_size: int = Field(16, ge=1, description="crystals per step")
    edges_per_batch: int | None = Field(
        None, ge=1, description="close a batch before it has more edges; null: by count alone"
    )
    atoms_per_batch: int | None = Field(
        None, ge=1, description="close a batch before it has more atoms; null: by count alone"
    )
    drop_last: bool = Field(
        False, description="leave out what is left at the end of an epoch for a short batch"
    )
    max_atoms: int | None = Field(
        None, ge=1, description="larger crystals are left out of training; null: none"
    )
    learning_rate: float = Field(5e-4, gt=0, description="rate of the first step")
    decay_steps: float = Field(4000, gt=0, description="T in rate x sqrt(T / (T + step))")
    weight_decay: float = Field(1e-5, ge=0, description="AdamW, weights only")
    bias_decay: float = Field(0.0, ge=0, description="AdamW, biases (the released code: 0.01)")
    gradient_clip_norm: float = Field(1.0, gt=0, description="largest total gradient norm")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of linear layers in training; the rest is float32 always"
    )
    init_from: str | None = Field(
        None, description="fine-tuning: model directory whose weights it starts from"
    )
    freeze: tuple[str, ...] = Field(
        (),
        description="fine-tuning: beginnings of the names of parameters that stay, e.g. blocks.0",
    )
    target_statistics: Literal["refit", "keep"] = Field(
        "refit", description="fine-tuning: mean and deviation of the new targets, or the model's"
    )
    stop_after_nonfinite: int = Field(
        3, ge=1, description="steps left out for a NaN or infinite loss or gradient until it stops"
    )
    checkpoint_minutes: float = Field(
        10.0, ge=0, description="between checkpoints inside an epoch; 0: after every step"
    )
    tensorboard: bool = Field(False, description="metrics for TensorBoard as well")

    @model_validator(mode="after")
    def keys_fit_each_other(self) -> "TrainingConfig":
        if self.init_from is None and (self.freeze or self.target_statistics == "keep"):
            raise ValueError("training.freeze and training.target_statistics need init_from")
        if self.averaged_epochs > self.epochs:
            raise ValueError("training.averaged_epochs must not exceed training.epochs")
        return self
