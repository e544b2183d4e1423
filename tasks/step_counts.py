"""How far the documents of a run have come, counted as they move on; pure.

Nothing walks over the documents to find it out: a run may have a hundred thousand, and progress is shown ten times a
second. A step is one document stored in custody, or processed by one stage; a failed document is past all of them.
"""

from __future__ import annotations


class StepCounts:
    """The counts of one run of *documents* through custody and *stages* stages. `Document.counts` keeps them right."""

    def __init__(self, *, documents: int, stages: int) -> None:
        self.documents = documents
        self.stages = stages
        self.failed = 0
        self.steps_done = 0
        # Of a run whose documents other runs process: its parts, and how many of them have ended.
        self.slices: tuple[int, int] | None = None
        # How many documents have this number of steps behind them.
        self._at = [documents, *(0 for _ in range(self.steps_each))]

    @property
    def steps_each(self) -> int:
        """The number of steps of one document."""
        return self.stages + 1

    @property
    def finished(self) -> int:
        """How many documents are past their last step."""
        return self._at[-1]

    @property
    def stage(self) -> int:
        """The first stage that some document has still to go through (0: custody)."""
        furthest_behind = next((steps for steps, count in enumerate(self._at) if count), self.stages)
        return min(furthest_behind, self.stages)

    @property
    def past_stage(self) -> int:
        """How many documents have gone through `stage`, or have failed."""
        return sum(self._at[self.stage + 1 :])

    def move(self, before: int, after: int) -> None:
        """Count a document that had *before* steps behind it and has *after* now."""
        self._at[before] -= 1
        self._at[after] += 1
        self.steps_done += after - before
