"""A caller's own kind of layer."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from infotorch.capture.layers.rule import Rule, Use
from infotorch.capture.layers.table import KINDS, RULES, forget_kinds
from infotorch.errors import ConfigError, check_choice

__all__ = ["register_layer"]


def register_layer(
    module_type: type[nn.Module], fn: Callable[[nn.Module, tuple[Any, ...], Any], Sequence[Use]]
) -> None:
    r"""Teach capture a kind of module: the products that it makes of its parameters.

    ``fn(module, inputs, output)`` is called after each forward of such a module and says, for every product of a
    parameter, what the parameter was multiplied with and where the result stands in the autograd graph. Subclasses with
    a forward of their own are not meant. A later registration replaces an earlier one, and torch's own layers too.

    Args:
        module_type: Class of the modules.
        fn: Returns a list of :class:`infotorch.capture.Use`. ``inputs`` are what the forward was called with, in its
            order. Intermediate results that it needs may be kept on the module; ``output`` may be any tensor of the
            graph.

    Raises:
        ConfigError: ``module_type`` is no class of modules, or ``fn`` cannot be called.

    Example:
        >>> class Shifted(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.matrix = torch.nn.Parameter(torch.eye(3))
        ...
        ...     def forward(self, x):
        ...         return (x - 1) @ self.matrix.T
        >>> register_layer(
        ...     Shifted, lambda module, inputs, output: [Use(a=inputs[0] - 1, params=["matrix"], output=output)]
        ... )
    """
    if not (isinstance(module_type, type) and issubclass(module_type, nn.Module)):
        raise ConfigError(
            f"register_layer: module_type must be a class of nn.Module; got {module_type!r}. Pass the class itself."
        )
    if not callable(fn):
        raise ConfigError(f"register_layer: fn must be callable; got {fn!r}. Pass fn(module, inputs, output).")
    RULES[module_type] = _Registered(fn)
    forget_kinds()


class _Registered(Rule):
    tested: ClassVar[bool] = False

    def __init__(self, fn: Callable[[nn.Module, tuple[Any, ...], Any], Sequence[Use]]) -> None:
        self.fn = fn

    def uses(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Sequence[Use]:
        uses = self.fn(module, inputs, output)
        for use in uses:
            _check(module, use)
        return uses


def _check(module: nn.Module, use: Any) -> None:
    if not (isinstance(use, Use) and isinstance(use.a, Tensor) and isinstance(use.output, Tensor)):
        raise ConfigError(
            f"register_layer: fn must return a list of Use(a=, params=, output=) for {type(module).__name__}; "
            f"got {use!r}. Give tensors a and output, and the parameter's names within the module."
        )
    check_choice("register_layer", "kind", use.kind, KINDS)
    for name in use.params:
        if name and name not in module._parameters:
            own = ", ".join(map(repr, module._parameters))
            raise ConfigError(
                f"register_layer: params must name parameters of {type(module).__name__}, of {own}; got "
                f"{name!r}. Give names within the module."
            )
    _check_sizes(module, use)


def _check_sizes(module: nn.Module, use: Use) -> None:
    got = f"a {list(use.a.shape)}, output {list(use.output.shape)}"
    weight = module._parameters[use.params[0]] if use.params and use.params[0] else None
    if use.kind == "scale" and use.a.shape != use.output.shape:
        raise ConfigError(
            f'register_layer: a "scale" must have a of its output\'s shape, in {type(module).__name__}; got {got}. '
            "Pass a.expand_as(output)."
        )
    if use.kind != "linear" or weight is None:
        return
    O, I = weight.shape[0], weight[0].numel()
    if use.output.shape[-1:] != (O,) or use.a.shape[-1:] != (I,):
        raise ConfigError(
            f"register_layer: a weight {list(weight.shape)} must take a [N, *T, {I}] to output [N, *T, {O}], in "
            f"{type(module).__name__}; got {got}. Lay a out so, and the weight as [O, *I]."
        )
