"""A backend for torch.compile whose random draws are those of eager evaluations.

inductor may run random operations in another order than they were written, so that each gets another's numbers. Here
they are taken out of the graph, run before it in the order written, and their results are handed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

# Their results depend on the shapes of their arguments alone, so that they can be run before everything else.
_SHAPED = (
    "aten::bernoulli.p", "aten::rand", "aten::randn", "aten::randint", "aten::randint.low", "aten::randperm",
    "aten::rand_like", "aten::randn_like", "aten::randint_like", "aten::randint_like.low_dtype", "aten::uniform",
    "aten::normal_functional", "aten::exponential", "aten::cauchy", "aten::log_normal", "aten::geometric",
)  # fmt: skip


class DrawError(Exception):
    """A random operation whose result depends on values that the graph computes."""


def inductor(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
    """Compile by inductor, with random draws in the order of eager evaluations."""
    import torch._functorch.config as functorch
    from torch._inductor.compile_fx import compile_fx

    # Of its own accord inductor lays convolutions out with channels last, which made small ones half as slow again here
    # as in the layout that the user chose.
    settings = {"fallback_random": True, "layout_optimization": False}
    # A cached form would not know of the draws that were taken out of it.
    with functorch.patch(enable_autograd_cache=False):
        return compile_fx(graph, inputs, inner_compile=_inner, config_patches=settings)


def _inner(graph: torch.fx.GraphModule, inputs: Any, **settings: Any) -> Any:
    from torch._inductor.compile_fx import compile_fx_inner

    draws, shown = take_out(graph)
    compiled: Any = compile_fx_inner(graph, [*inputs, *shown], **settings)
    if not draws:
        return compiled

    def run(arguments: list[Any]) -> Any:
        arguments.extend([draw() for draw in draws])
        return compiled(arguments)

    vars(run)["_boxed_call"] = True  # inductor's convention: one list, which the callee empties
    return run


def take_out(graph: torch.fx.GraphModule) -> tuple[list[Callable[[], Tensor]], list[Any]]:
    """Turn a graph's random operations into inputs; return the functions that draw them, in order, and example values.

    Raises:
        DrawError: if the result of one depends on more than shapes.
    """
    fx = graph.graph
    last = [node for node in fx.nodes if node.op == "placeholder"]
    draws: list[Callable[[], Tensor]] = []
    shown: list[Any] = []
    for node in list(fx.nodes):
        operation: Any = node.target
        if node.op != "call_function" or torch.Tag.nondeterministic_seeded not in getattr(operation, "tags", ()):
            continue
        name = operation.name()
        if name not in _SHAPED:
            raise DrawError(f"{name} draws from values that the graph computes, out of order")
        draws.append(_draw(operation, node.args, node.kwargs))
        with fx.inserting_after(last[-1]) if last else fx.inserting_before(next(iter(fx.nodes))):
            placeholder = fx.placeholder(f"drawn_{len(draws)}")
        placeholder.meta = dict(node.meta)
        last.append(placeholder)
        shown.append(node.meta["val"])
        node.replace_all_uses_with(placeholder)
        fx.erase_node(node)
    if draws:
        fx.eliminate_dead_code()
        graph.recompile()
    return draws, shown


def _draw(operation: Any, args: Any, kwargs: Any) -> Callable[[], Tensor]:
    from torch._subclasses.fake_tensor import unset_fake_temporarily
    from torch.fx.node import map_aggregate

    def still(part: Any) -> Any:
        if not isinstance(part, torch.fx.Node):
            return part
        like: Any = part.meta["val"]
        if not isinstance(like, Tensor):
            raise DrawError(f"{operation.name()} draws as many numbers as a value in the graph says")
        if any(isinstance(size, torch.SymInt) for size in like.shape):
            raise DrawError(f"{operation.name()} draws as many numbers as a value in the graph says")
        return torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device=like.device)

    # Only shapes and strides are read from these, and they are kept, so that nothing is allocated at each step. While
    # a graph is compiled, torch would make them without memory.
    with unset_fake_temporarily():
        positional: Any = map_aggregate(args, still)
        named: Any = map_aggregate(kwargs, still)
    return lambda: operation(*positional, **named)
