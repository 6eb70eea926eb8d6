"""Reads by id, many at once, each thing a single time.

Only what every version of the store answers is asked (some have no filter queries and no lineage subgraphs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from ml_metadata import errors

from tfx_edge.lineage.connection import pb

Artifact: TypeAlias = Any
Execution: TypeAlias = Any
Event: TypeAlias = Any

_AT_ONCE = 1000
INPUTS = (pb.Event.INPUT, pb.Event.DECLARED_INPUT)
OUTPUTS = (pb.Event.OUTPUT, pb.Event.DECLARED_OUTPUT)


class Reads:
    """What was read of a store; ``client`` is the API of ``ml_metadata``."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._artifacts: dict[int, Artifact] = {}
        self._executions: dict[int, Execution] = {}
        self._artifact_events: dict[int, list[Event]] = {}
        self._execution_events: dict[int, list[Event]] = {}
        self._contexts: dict[int, list[Any]] = {}

    def artifacts(self, ids: Iterable[int]) -> list[Artifact]:
        """The artifacts of these ids that there are, in the order of ids."""
        return self._items(ids, self._artifacts, self.client.get_artifacts_by_id)

    def executions(self, ids: Iterable[int]) -> list[Execution]:
        """The executions of these ids that there are, in the order of ids."""
        return self._items(ids, self._executions, self.client.get_executions_by_id)

    def events_of_artifacts(self, ids: Iterable[int]) -> dict[int, list[Event]]:
        """Who made and who used each artifact."""
        read = self.client.get_events_by_artifact_ids
        return self._events(ids, self._artifact_events, read, lambda event: event.artifact_id)

    def events_of_executions(self, ids: Iterable[int]) -> dict[int, list[Event]]:
        """What each execution used and made."""
        read = self.client.get_events_by_execution_ids
        return self._events(ids, self._execution_events, read, lambda event: event.execution_id)

    def contexts(self, execution_id: int) -> list[Any]:
        """The contexts of an execution: the store has no question for those of several."""
        if execution_id not in self._contexts:
            try:
                self._contexts[execution_id] = list(self.client.get_contexts_by_execution(execution_id))
            except errors.NotFoundError:  # an execution without any
                self._contexts[execution_id] = []
        return self._contexts[execution_id]

    def artifacts_of(self, execution_id: int, kinds: Iterable[int]) -> list[Artifact]:
        """What an execution used or made, by the kind of event."""
        events = self.events_of_executions([execution_id])[execution_id]
        return self.artifacts({event.artifact_id for event in events if event.type in kinds})

    def load_artifacts_of(self, execution_ids: Iterable[int]) -> None:
        """Reads at once what `artifacts_of` will be asked about these executions."""
        events = self.events_of_executions(execution_ids)
        self.artifacts({event.artifact_id for found in events.values() for event in found})

    def _items(self, ids: Iterable[int], known: dict[int, Any], read: Callable[[list[int]], Any]) -> list[Any]:
        wanted = sorted(set(ids))
        for part in _parts(each for each in wanted if each not in known):
            known.update({item.id: item for item in read(part)})
        return [known[each] for each in wanted if each in known]

    def _events(
        self,
        ids: Iterable[int],
        known: dict[int, list[Event]],
        read: Callable[[list[int]], Any],
        key: Callable[[Event], int],
    ) -> dict[int, list[Event]]:
        wanted = set(ids)
        for part in _parts(each for each in wanted if each not in known):
            known.update({each: [] for each in part})
            for event in read(part):
                known[key(event)].append(event)
        return {each: known[each] for each in wanted}


def _parts(ids: Iterable[int]) -> list[list[int]]:
    every = list(ids)
    return [every[start : start + _AT_ONCE] for start in range(0, len(every), _AT_ONCE)]
