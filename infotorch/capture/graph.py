"""The autograd graph of an output, walked once: how often is each parameter really used?"""

from collections.abc import Iterable, Mapping

from torch import nn
from torch.autograd.graph import Node

from infotorch.errors import CaptureError

__all__ = ["Graph"]


class Graph:
    """All nodes behind a root, and where each gets its gradient from."""

    def __init__(self, root: Node) -> None:
        self._parents: dict[Node, list[Node]] = {root: []}  # one for each edge
        self._leaves: dict[int, Node] = {}  # by id of the parameter
        stack = [root]
        while stack:
            node = stack.pop()
            children = node.next_functions
            if not children and hasattr(node, "variable"):
                self._leaves[id(node.variable)] = node
            for child, _ in children:
                if child is None:
                    continue
                if child in self._parents:
                    self._parents[child].append(node)
                else:
                    self._parents[child] = [node]
                    stack.append(child)
        if any(node.name() == "CheckpointFunctionBackward" for node in self._parents):
            raise CaptureError(
                "capture: layers must run inside the graph; got a reentrant checkpoint, which hides its own. "
                "Call checkpoint(..., use_reentrant=False)."
            )

    def __contains__(self, node: Node) -> bool:
        return node in self._parents

    def uses(self, parameters: Mapping[str, nn.Parameter]) -> dict[str, int]:
        """How many times each parameter enters the graph."""
        leaves = self._leaves
        return {name: self._consumers(leaves[id(p)]) if id(p) in leaves else 0 for name, p in parameters.items()}

    def ends(self, nodes: Iterable[Node]) -> set[Node]:
        """Those of the nodes behind which there is none of the others."""
        nodes = set(nodes)
        above: set[Node] = set()
        stack = [*nodes]
        while stack:
            for parent in self._parents[stack.pop()]:
                if parent not in above:
                    above.add(parent)
                    stack.append(parent)
        return nodes - above

    def _consumers(self, node: Node) -> int:
        """Edges into a node; a pure cast, which autocast makes once for many uses, stands for those into it."""
        return sum(
            self._consumers(parent) if parent.name() == "ToCopyBackward0" else 1 for parent in self._parents[node]
        )
