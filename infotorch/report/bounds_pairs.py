"""The pairs whose predictions tell most of which of the two samples was trained on."""

from collections.abc import Mapping, Sequence
from typing import Any

from infotorch.report.figure import Member, Pair, Pairs, Table
from infotorch.report.numbers import bits, count, number, quantity
from infotorch.report.view import View, visible

__all__ = ["pairs"]


def pairs(view: View, note: Mapping[str, Any]) -> Pairs | None:
    """The note's pairs, as they come; None where there are none."""
    if not note["pairs"]:
        return None
    place = {id: position for position, id in enumerate(view.ids)}
    names = _label_names(view)
    found = tuple(
        Pair(
            information=quantity(pair["information"], "nats"),
            bits=bits(pair["information"], "nats"),
            members=(_member(view, pair, 0, place, names), _member(view, pair, 1, place, names)),
        )
        for pair in note["pairs"]
    )
    changed = sum(any(member.left_out != member.trained for member in pair.members) for pair in found)
    return Pairs(
        id="bounds-pairs",
        title="The pairs that reveal most",
        kind="estimate",
        caption="Each run was trained on one sample of a pair. Of each sample: the label that most runs predict when "
        "it was trained on, and when it was left out for the other one, with the share of the runs. In "
        f"{count(changed)} of these {count(len(found))} pairs the two differ.",
        pairs=found,
        table=Table(
            caption="Pairs with most membership information",
            header=("Sample", "Given", "Trained on", "Left out", "Information of the pair"),
            rows=tuple(
                (member.id, member.given, f"{member.trained} in {member.trained_share}",
                 f"{member.left_out} in {member.left_out_share}", pair.information)
                for pair in found
                for member in pair.members
            ),
        ),
    )  # fmt: skip


def _member(
    view: View, pair: Mapping[str, Any], column: int, place: Mapping[str, int], names: Mapping[int, str]
) -> Member:
    id, label = str(pair["ids"][column]), int(pair["labels"][column])
    shares = pair["when_trained_on"]
    trained, trained_share = _most(shares[column][column], names)
    left_out, left_out_share = _most(shares[1 - column][column], names)
    position = place.get(id)
    return Member(
        position=position,
        index=None if position is None else int(view.index[position]),
        id=visible(id),
        given=_name(label, names),
        trained=trained,
        trained_share=trained_share,
        left_out=left_out,
        left_out_share=left_out_share,
    )


def _most(shares: Sequence[float], names: Mapping[int, str]) -> tuple[str, str]:
    """The likeliest label and its share of the runs."""
    label = max(range(len(shares)), key=lambda c: (shares[c], -c))
    return _name(label, names), f"{number(100 * shares[label])}\N{NO-BREAK SPACE}%"


def _name(label: int, names: Mapping[int, str]) -> str:
    return visible(names.get(label, str(label)))


def _label_names(view: View) -> dict[int, str]:
    """What labels are called: by the data, and where it doesn't say, by the samples that bear them."""
    data = view.manifest.get("data")
    listed = data.get("label_names") if isinstance(data, Mapping) else None
    names = {label: str(name) for label, name in enumerate(listed or ())}
    if view.label_text is not None and view.classes is not None:
        names |= dict(zip(view.samples["label"].to_pylist(), view.label_text, strict=True))
    return names
