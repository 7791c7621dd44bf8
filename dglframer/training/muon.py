"""Muon in single precision, with all matrices of one shape at once.

K. Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024). torch has the same
optimiser and computes it in bfloat16, which takes twenty times as long on a CPU without such
arithmetic, and is then slower than the rest of a step.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor


class Muon(torch.optim.Muon):
    """torch's Muon: its arguments, rates and state; only the arithmetic of a step differs."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """W <- (1 - rate x decay) W - rate sqrt(max(1, rows / columns)) O, O near the polar factor of m.

        m = g + momentum b is Nesterov's average, b <- momentum b + (1 - momentum) g.
        """
        for group in self.param_groups:
            for parameters in alike(group["params"]):
                rows, columns = parameters[0].shape
                rate = group["lr"] * max(1.0, rows / columns) ** 0.5
                momenta = torch.stack([self.average(p, group["momentum"]) for p in parameters])
                updates = orthogonal(momenta, group["ns_coefficients"], group["ns_steps"])
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(parameters, list(updates.unbind()), alpha=-rate)

    def average(self, parameter: Tensor, momentum: float) -> Tensor:
        """Take the gradient into the momentum; Nesterov's average of both, in float32."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        gradient, buffer = parameter.grad, state["momentum_buffer"]
        buffer.lerp_(gradient, 1 - momentum)
        return gradient.lerp(buffer, momentum).float()


def alike(parameters: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The parameters with a gradient, those of one shape together."""
    by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
    for parameter in parameters:
        if parameter.grad is not None:
            by_shape[parameter.shape].append(parameter)
    yield from by_shape.values()


def orthogonal(
    matrices_MRC: Tensor, coefficients: tuple[float, float, float], steps: int
) -> Tensor:
    """Matrices with the same singular vectors, and singular values near 1 (0.7 to 1.2), [M, R, C].

    Newton and Schulz's iteration X <- (a + b G + c G^2) X with G = X X^T. X only enters by G, so that
    the iteration goes on with G (of the shorter side) and X is multiplied once, at the end.
    """
    a, b, c = coefficients
    wide = matrices_MRC.shape[1] <= matrices_MRC.shape[2]
    x = matrices_MRC if wide else matrices_MRC.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    gram = x @ x.mT
    product = None
    for k in range(steps):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        product = factor if product is None else factor @ product
        if k < steps - 1:
            gram = factor @ gram @ factor
    x = x if product is None else product @ x
    return x if wide else x.mT
