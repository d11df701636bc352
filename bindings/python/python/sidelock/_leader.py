"""Leader election, for programs that block: a lease by another name.

Owns the words. Whoever has the lock `leader/NAME` leads, in every language and for `sidelock run --leader`.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import _native
from ._calls import blocking
from ._gate import Gate
from ._lease import Lease
from ._losses import Losses
from ._plain import share_lease
from ._requests import Candidate
from ._seen import Holder, to_leader
from ._span import Seconds


class Leadership(Lease):
    """Being the leader, until it is resigned or lost. A lease in all else: `lost`, `is_valid()`, a context manager.

    Step down when it is lost: somebody else may lead already.
    """

    __slots__ = ()

    @property
    def term(self) -> int:
        """Rises with every leader of this name: give it along with whatever is ordered, and let nobody obey a lower one than it
        has seen. It is the lease's fence."""
        return self.fence

    def resign(self) -> None:
        """Steps down; the next candidate leads. Leaving the `with` block does the same."""
        self.release()


class Leader(Gate[Leadership]):
    """An election in which this program may stand; see `Client.leader`. Stateless, and a context manager that campaigns."""

    __slots__ = ("_candidate", "_losses")

    def __init__(self, candidate: Candidate, losses: Losses) -> None:
        super().__init__()
        self._candidate = candidate
        self._losses = losses

    def campaign(self, wait: Seconds | None = None) -> Leadership:
        """Waits to be elected, in the order of arrival; `wait` seconds at most, without that as was said when it was made.

        Raises `WaitTimeout` if the wait is over, and any other `SidelockError`.
        """
        native = blocking(self._candidate.native.campaign_blocking, self._candidate.candidacy(wait))
        return Leadership(share_lease(native), self._candidate.key, self._losses)

    _gain = campaign

    def try_campaign(self, wait: Seconds = 0) -> Leadership | None:
        """Leads if nobody else does, or stops within `wait` seconds; else `None`."""
        return self._try(wait)

    def current(self) -> Holder | None:
        """Who leads now; `None`: nobody. A leader at another sidecar may be known by no more than that."""
        return to_leader(blocking(self._candidate.native.observe().current_blocking))

    def observe(self) -> Iterator[Holder | None]:
        """Who leads now, and then each time that it is another leader, another term or nobody (`None`). It looks once a second,
        so a term between two looks is not seen."""
        observer = self._candidate.native.observe()
        while True:
            yield to_leader(blocking(observer.changed_blocking))
