"""Processes that share one run: which part of the work is whose, and what all must agree on."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from infotorch.errors import ConfigError, InfotorchError, RankError
from infotorch.measures.primal.moments import Moments
from infotorch.store.manifest import first_difference

__all__ = ["ALONE", "MomentsTree", "Ranks"]

T = TypeVar("T")


class MomentsTree:
    """A sum over leaves 0, 1, ... whose order follows from their places alone, so that its bits do too.

    Node (level, place) sums leaves [place 2^level, (place + 1) 2^level). It is made as soon as both of its halves are
    there, so that following leaves leave no more nodes than their number has binary digits.
    """

    def __init__(self) -> None:
        self.nodes: dict[tuple[int, int], Moments] = {}

    def add(self, level: int, place: int, value: Moments) -> None:
        while (other := self.nodes.pop((level, place ^ 1), None)) is not None:
            value = other + value if place & 1 else value + other
            level, place = level + 1, place >> 1
        self.nodes[level, place] = value

    def total(self) -> Moments:
        """Of all leaves, when all are there."""
        last, *before = (value for _, value in sorted(self.nodes.items()))  # the smallest nodes hold the last leaves
        for value in before:
            last = value + last
        return last


@dataclass(frozen=True)
class Ranks:
    """The processes of a ``torch.distributed`` group, or one process alone.

    All take the same steps in the same order: every method but ``share`` waits for the others.
    """

    group: Any = None
    """None: one process."""

    @property
    def rank(self) -> int:
        return 0 if self.group is None else dist.get_rank(self.group)

    @property
    def size(self) -> int:
        return 1 if self.group is None else dist.get_world_size(self.group)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's items, which follow one another; none where there are more processes than items."""
        start, stop = (len(items) * rank // self.size for rank in (self.rank, self.rank + 1))
        return items[start:stop]

    def first(self, make: Callable[[], T]) -> T:
        """What ``make`` returns on the first process, everywhere; what it refuses there is refused everywhere."""
        if self.size == 1:
            return make()
        told: list[Any] = [None, _ended(0)]
        if self.is_first:
            try:
                told = [make(), None]
            except InfotorchError as error:
                told = [None, error]
            finally:  # also where anything else was raised: the others must not wait for ever
                with _waiting():
                    dist.broadcast_object_list(told, group=self.group, group_src=0)
        else:
            with _waiting():
                dist.broadcast_object_list(told, group=self.group, group_src=0)
        result, refused = told
        if refused is not None:
            raise refused
        return result

    def wait(self) -> None:
        """Until all are here."""
        self.first(lambda: None)

    def each(self, make: Callable[[Sequence[T]], Sequence[Any]], items: Sequence[T]) -> list[Any]:
        """What ``make`` returns of each process's share of the items, in order, everywhere; as above if it refuses."""

        def own() -> Sequence[Any]:
            return make(share) if (share := self.share(items)) else []

        return [value for share in self._gathered(own) for value in share]

    def total(self, tree: MomentsTree, device: torch.device) -> Moments:
        """The sum of all leaves, everywhere; each process has added those of its share."""
        cpu, distance = torch.device("cpu"), 1
        while distance < self.size:
            if self.rank % (2 * distance) == distance:
                nodes = [(key, value.to(cpu)) for key, value in tree.nodes.items()]
                with _waiting():
                    dist.send_object_list([nodes], group=self.group, group_dst=self.rank - distance)
                break
            if self.rank % (2 * distance) == 0 and self.rank + distance < self.size:
                got: list[Any] = [None]
                with _waiting():
                    dist.recv_object_list(got, group=self.group, group_src=self.rank + distance)
                for (level, place), value in got[0]:
                    tree.add(level, place, value.to(device))
            distance *= 2
        return tree.total() if self.size == 1 else self.first(lambda: tree.total().to(cpu)).to(device)

    def agree(self, where: str, facts: Mapping[str, Any]) -> None:
        """Refuses processes that were given different things, in JSON's types.

        Raises:
            ConfigError: On all of them; the text names the first fact that differs, and a process where it does.
        """
        every = self._gathered(lambda: dict(facts))
        for rank, others in enumerate(every):
            if found := first_difference(every[0], others, ""):
                name, here, there = found
                raise ConfigError(
                    f"{where}: all processes must have the same {name}; got {here!r} on rank 0, {there!r} on rank "
                    f"{rank}. Give all of them the same command, data and versions."
                )

    def _gathered(self, make: Callable[[], T]) -> list[T]:
        """What ``make`` returns on every process."""
        if self.size == 1:
            return [make()]
        told: tuple[Any, Any] = None, _ended(self.rank)
        found: list[Any] = [None] * self.size
        try:
            told = make(), None
        except InfotorchError as error:
            told = None, error
        finally:
            with _waiting():
                dist.all_gather_object(found, told, group=self.group)
        for _, refused in found:
            if refused is not None:
                raise refused
        return [value for value, _ in found]


def _ended(rank: int) -> RankError:
    return RankError(
        f"score: every process must get through; got an error on rank {rank}. Look at what it printed, then run "
        "the same command again: it goes on from there."
    )


@contextlib.contextmanager
def _waiting() -> Iterator[None]:
    """What is raised when another process is gone, in words."""
    try:
        yield
    except RuntimeError as error:
        raise RankError(
            f"score: every process must get through; got no answer from another ({str(error).splitlines()[0][:200]}). "
            "Look at what the others printed, then run the same command again: it goes on from there."
        ) from error


ALONE = Ranks()
