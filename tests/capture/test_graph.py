"""How often a parameter enters a graph, counted on graphs small enough to count by hand."""

import torch
import torch.nn.functional as F
from torch import nn

from infotorch.capture.graph import Graph


def uses(total, **parameters):
    return Graph(total.grad_fn).uses(parameters)


def test_uses_are_counted_by_edges():
    w, v, idle = (nn.Parameter(torch.ones(2, 2)) for _ in range(3))
    x = torch.ones(3, 2)
    total = (F.linear(F.linear(x, w), w) + x @ v).sum() + w.sum()
    assert uses(total, w=w, v=v, idle=idle) == {"w": 3, "v": 1, "idle": 0}


def test_a_parameter_taken_twice_by_one_operation_counts_twice():
    w = nn.Parameter(torch.ones(2))
    assert uses((w * w).sum(), w=w) == {"w": 2}


def test_a_shared_cast_stands_for_its_consumers():
    """Autocast makes one cast of a weight for all its uses."""
    w = nn.Parameter(torch.ones(2, 2))
    cast, x = w.to(torch.bfloat16), torch.ones(3, 2, dtype=torch.bfloat16)
    assert uses(F.linear(F.linear(x, cast), cast).sum(), w=w) == {"w": 2}


def test_what_the_root_does_not_reach_is_not_in_it():
    w = nn.Parameter(torch.ones(2))
    reached, beside = w * 2, w * 3
    graph = Graph(reached.sum().grad_fn)
    assert reached.grad_fn in graph and beside.grad_fn not in graph
    assert graph.uses({"w": w}) == {"w": 1}


def test_a_deep_graph_is_walked_without_recursion():
    w = nn.Parameter(torch.ones(()))
    total = w
    for _ in range(5000):
        total = total + 1
    assert uses(total, w=w) == {"w": 1}


def test_ends_are_nodes_behind_which_there_is_none_of_the_others():
    w = nn.Parameter(torch.ones(2))
    low, beside = w * 2, w + 1
    high = low.exp() + beside
    nodes = [y.grad_fn for y in (low, beside, high)]
    assert Graph(high.sum().grad_fn).ends(nodes) == {low.grad_fn, beside.grad_fn}
    assert Graph(high.sum().grad_fn).ends([high.grad_fn]) == {high.grad_fn}
