"""The whole state of a training between two steps: it continues from it to the same bits."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dglframer.training.epoch import EpochState
from dglframer.training.muon import Muon
from dglframer.training.schedule import averaged_over_steps
from dglframer.training.trainer import Trainer

# The tensors that an optimiser keeps for a parameter.
STATE_OF = {
    torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
    Muon: ("momentum_buffer",),
}


@dataclass(frozen=True)
class Snapshot:
    """The state of a training: tensors by flat name, and plain values."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]


def snapshot_of(trainer: Trainer) -> Snapshot:
    """The whole state of a trainer between two steps, for ``restore``."""
    tensors = {f"network.{name}": value for name, value in trainer.network.state_dict().items()}
    if trainer.averaged is not None:
        state = trainer.averaged.state_dict()
        tensors |= {f"averaged.{name}": value for name, value in state.items()}
    for name, parameter in trainer.network.named_parameters():
        for optimizer in trainer.optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value
    values: dict[str, Any] = {
        "next_epoch": trainer.next_epoch,
        "step": trainer.step,
        "rates": [group["lr"] for group in all_groups(trainer)],
        "best": trainer.best,
        "nonfinite": trainer.nonfinite,
        "random": random_states(),
        "current": None,
    }
    if trainer.current is not None:
        current = vars(trainer.current).copy()
        tensors["epoch.order"] = torch.from_numpy(current.pop("order_G"))
        tensors["epoch.sums"] = current.pop("sums_2")
        values["current"] = current
    return Snapshot(tensors, values)


def restore(trainer: Trainer, snapshot: Snapshot) -> None:
    """Put a trainer into the state of one with the same settings and data."""
    tensors, values = snapshot.tensors, snapshot.values
    trainer.network.load_state_dict(below("network.", tensors))
    if averaged := below("averaged.", tensors):
        if trainer.averaged is None:
            trainer.averaged = averaged_over_steps(trainer.network)
        trainer.averaged.load_state_dict(averaged)
    for optimizer in trainer.optimizers:
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for key in STATE_OF[type(optimizer)]:
            moments = below(f"optimizer.{key}.", tensors)
            for name, parameter in trainer.network.named_parameters():
                if name in moments and id(parameter) in own:
                    optimizer.state[parameter][key] = moments[name].to(trainer.device)
    for group, rate in zip(all_groups(trainer), values["rates"], strict=True):
        group["lr"] = rate
    trainer.next_epoch, trainer.step = values["next_epoch"], values["step"]
    trainer.best, trainer.nonfinite = values["best"], values["nonfinite"]
    if values["current"] is not None:
        order_G, sums_2 = tensors["epoch.order"].numpy(), tensors["epoch.sums"].to(trainer.device)
        if trainer.own_shards:  # the snapshot has the order of the leader's crystals
            order_G = trainer.begin(values["current"]["number"]).order_G
        trainer.current = EpochState(order_G=order_G, sums_2=sums_2, **values["current"])
    restore_random_states(values["random"])


def all_groups(trainer: Trainer) -> list[dict[str, Any]]:
    """The parameter groups of all optimisers."""
    return [group for optimizer in trainer.optimizers for group in optimizer.param_groups]


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose name begins with the prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def random_states() -> dict[str, Any]:
    """The state of every random generator that a library may draw from, as plain values."""
    name, keys, *rest = np.random.get_state(legacy=True)
    version, internal, gauss = random.getstate()
    return {
        "torch": bytes(torch.get_rng_state().numpy()).hex(),
        "cuda": [bytes(state.numpy()).hex() for state in torch.cuda.get_rng_state_all()],
        "numpy": [name, np.asarray(keys).tolist(), *rest],
        "python": [version, list(internal), gauss],
    }


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Restore the states that ``random_states`` returned, without those of absent GPUs."""

    def tensor(text: str) -> Tensor:
        return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)

    torch.set_rng_state(tensor(states["torch"]))
    for index, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(tensor(state), index)
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), *rest))
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
