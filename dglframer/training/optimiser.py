"""One step of the optimisers: L1 loss, gradients, clipping, errors for lack of memory.

AdamW alone is the recipe of the CrystalFramer paper (docs/models/crystalframer.md §8). Muon
(K. Jordan et al., 2024) replaces the update of a weight matrix by the nearest orthogonal matrix.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dglframer.common.threads import dense_layers, one_thread
from dglframer.config.training import TrainingConfig
from dglframer.graphs.batch import Batch
from dglframer.networks.base import PropertyNetwork
from dglframer.training.muon import Muon


def optimizers_for(network: nn.Module, training: TrainingConfig) -> list[torch.optim.Optimizer]:
    """AdamW (0.9, 0.98) and, if chosen, Muon for the weight matrices; without frozen parameters.

    AdamW has one decay for weights and one for biases. Each group keeps its rate before the schedule
    as ``initial_lr``. The fused form of AdamW skips a step whose ``found_inf`` is 1, without waiting
    for the device.
    """
    named = {name: p for name, p in network.named_parameters() if p.requires_grad}
    matrices = weight_matrices(network) & named.keys() if training.optimizer == "muon" else set()
    rest = {name: p for name, p in named.items() if name not in matrices}
    weights = [p for name, p in rest.items() if not name.endswith("bias")]
    biases = [p for name, p in rest.items() if name.endswith("bias")]
    groups = [
        {"params": weights, "weight_decay": training.weight_decay},
        {"params": biases, "weight_decay": training.bias_decay},
    ]
    rate = training.learning_rate
    adamw = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), eps=1e-8, fused=True)
    optimizers: list[torch.optim.Optimizer] = [adamw]
    if matrices:
        chosen = [p for name, p in named.items() if name in matrices]
        rate, decay = training.muon_learning_rate, training.weight_decay
        optimizers.append(Muon(chosen, lr=rate, momentum=0.95, weight_decay=decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def weight_matrices(network: nn.Module) -> set[str]:
    """Names of the weights of linear layers between the embedding and the head.

    Only there is a whole matrix an update's natural unit: rows of the embedding belong to elements,
    and the head's last layer has as many rows as there are targets.
    """
    return {
        f"{name}.weight"
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear) and not name.startswith("head.")
    }


def l1_loss(output_BT: Tensor, target_BT: Tensor, weight_T: Tensor | None = None) -> Tensor:
    """The absolute error in normalised units, summed over targets, averaged over crystals.

    With ``weight_T``, crystals over known labels of the whole batch for each target, a label may be
    NaN: it adds nothing, and the mean is over the known ones.
    """
    if weight_T is None:
        return (output_BT - target_BT).abs().mean(0).sum()
    # Filled before the difference: the gradient of NaN times nothing is NaN.
    error_BT = (output_BT - target_BT.nan_to_num(0.0)).abs()
    return (torch.where(target_BT.isnan(), 0.0, error_BT).mean(0) * weight_T).sum()


def label_weights(known_BT: np.ndarray) -> Tensor:
    """Crystals over known labels of each target, [T], float32; 0 without a known label."""
    return weights_of(len(known_BT), known_BT.sum(0))


def weights_of(crystals: int, known_T: np.ndarray) -> Tensor:
    """``label_weights`` from the number of crystals and of the known labels of each target."""
    weight_T = np.where(known_T > 0, crystals / np.maximum(known_T, 1), 0.0)
    return torch.from_numpy(weight_T).float()


def loss_and_gradients(
    network: PropertyNetwork,
    parameters: Sequence[nn.Parameter],
    batch: Batch,
    target_BT: Tensor,
    share: float,
    precision: str,
    weight_T: Tensor | None = None,
) -> list[Tensor]:
    """``share`` times the loss, then its gradients. If the memory runs out, no tensor stays alive."""
    half = precision == "bfloat16"
    with dense_layers(network.dense_rows(batch)):
        with torch.autocast(target_BT.device.type, torch.bfloat16, enabled=half):
            output_BT = network(batch)
        loss = l1_loss(output_BT.float() if half else output_BT, target_BT, weight_T) * share
        # Contiguous: on a CPU the fused optimiser goes by the order in memory.
        gradients = [grad.contiguous() for grad in torch.autograd.grad(loss, list(parameters))]
    return [loss.detach(), *gradients]


def clip_and_step(
    optimizers: Sequence[torch.optim.Optimizer], max_norm: float, loss: Tensor
) -> Tensor:
    """Clip the gradients to the total norm ``max_norm`` and take the step.

    The step changes nothing if the loss or a gradient is not finite. Returns whether all were
    finite, as a flag on the device. AdamW reads the flag there; Muon cannot, and waits for it.
    """
    adamw, *others = optimizers
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    with one_thread():
        norm = nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], max_norm)
        finite = torch.isfinite(norm) & torch.isfinite(loss)
        adamw.found_inf = (~finite).float()  # type: ignore[attr-defined]
        adamw.step()
    if others and bool(finite):
        for optimizer in others:
            optimizer.step()
    return finite


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of torch or numpy means that there was not enough memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
