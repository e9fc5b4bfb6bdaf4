"""The autograd graph of an output, walked once: how often is each parameter really used?"""

from collections import Counter
from collections.abc import Mapping

from torch import nn
from torch.autograd.graph import Node

from infotorch.errors import CaptureError

__all__ = ["Graph"]


class Graph:
    """All nodes behind a root, with the number of edges into each."""

    def __init__(self, root: Node) -> None:
        self.edges: Counter[Node] = Counter({root: 1})
        self._parents: dict[Node, list[Node]] = {}
        stack = [root]
        while stack:
            node = stack.pop()
            for child, _ in node.next_functions:
                if child is None:
                    continue
                if child not in self.edges:
                    stack.append(child)
                self.edges[child] += 1
                self._parents.setdefault(child, []).append(node)
        if any(node.name() == "CheckpointFunctionBackward" for node in self.edges):
            raise CaptureError(
                "capture: layers must run inside the graph; got a reentrant checkpoint, which hides its own. "
                "Call checkpoint(..., use_reentrant=False)."
            )

    def __contains__(self, node: Node) -> bool:
        return node in self.edges

    def uses(self, parameters: Mapping[str, nn.Parameter]) -> dict[str, int]:
        """How many times each parameter enters the graph."""
        leaves = {id(getattr(node, "variable", None)): node for node in self.edges}  # of AccumulateGrad alone
        return {name: self._consumers(leaves[id(p)]) if id(p) in leaves else 0 for name, p in parameters.items()}

    def _consumers(self, node: Node) -> int:
        """Edges into a node; a pure cast, which autocast makes once for many uses, stands for those into it."""
        return sum(
            self._consumers(parent) if parent.name() == "ToCopyBackward0" else 1
            for parent in self._parents.get(node, ())
        )
