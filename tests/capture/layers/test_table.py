"""The registry is what the page says, and knows a module by what computes."""

import pathlib
import re

from torch import nn

from infotorch.capture.layers.table import FOREIGN, RULES, rule_of

PAGE = pathlib.Path(__file__).parents[3] / "docs/capture.md"


def test_page_lists_every_layer_and_no_other():
    section = PAGE.read_text().split("\n## Layers\n")[1].split("\n## ")[0]
    cells = [row.split("|")[1] for row in section.splitlines() if row.startswith("| ") and "`" in row]
    named = {name for cell in cells for name in re.findall(r"`(\*?\w+)`", cell) if "transformers" not in cell}
    foreign = {name for cell in cells for name in re.findall(r"`\*?(\w+)`", cell) if "transformers" in cell}
    assert named == {kind.__name__ for kind in RULES if kind.__module__.startswith("torch.")}
    assert foreign == {name for _, name in FOREIGN}


def test_a_class_is_known_by_the_forward_that_it_inherits():
    class Same(nn.LayerNorm):
        pass

    class Other(nn.LayerNorm):
        def forward(self, x):
            return 2 * super().forward(x)

    assert rule_of(Same(3)) is RULES[nn.LayerNorm] and rule_of(Other(3)) is None and rule_of(nn.ReLU()) is None
    patched = nn.Linear(2, 2)
    patched.forward = lambda x: x
    assert rule_of(patched) is None


def test_a_name_alone_makes_no_foreign_layer():
    class OwnRMSNorm(nn.Module):
        pass

    assert rule_of(OwnRMSNorm()) is None
