"""Which request meets which fault, and the account of the faults that happened.

Pure: it decides; `injection.py` and `sending.py` make it happen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rfbulk.emulator.faults import ONLY_RANGES, Fault
from rfbulk.emulator.faulttext import parse_fault


@dataclass(slots=True)
class _Scripted:
    fault: Fault
    seen: int = 0
    used: int = 0

    @property
    def is_spent(self) -> bool:
        return self.fault.times is not None and self.used >= self.fault.times


@dataclass(slots=True)
class FaultScript:
    """The faults still to come and those that came. Earlier ones go first; one request meets one fault."""

    _scripted: list[_Scripted] = field(default_factory=list)

    def add(self, *faults: Fault | str) -> None:
        """Add faults; text is read by `parse_fault`.

        Raises:
            ValueError: a text cannot be read.
        """
        self._scripted += [_Scripted(parse_fault(each) if isinstance(each, str) else each) for each in faults]

    def take(self, operation: str, target: str, *, asks_range: bool = False) -> Fault | None:
        """Return the fault that this request meets, if any, and account for it."""
        met: _Scripted | None = None
        for each in self._scripted:
            if each.fault.operation != operation or each.fault.match not in target or each.is_spent:
                continue
            if each.fault.action in ONLY_RANGES and not asks_range:
                continue
            if each.seen < each.fault.after:
                each.seen += 1
            elif met is None:
                met = each
        if met is None:
            return None
        met.used += 1
        return met.fault

    def clear(self) -> None:
        """Forget every fault, and the account of them."""
        self._scripted.clear()

    @property
    def consumed(self) -> Counter[Fault]:
        """How often each fault has happened."""
        return Counter({each.fault: each.used for each in self._scripted if each.used})

    def unconsumed(self) -> list[Fault]:
        """Return the faults that have not happened as often as they should; with `times=None`, not at all."""
        return [each.fault for each in self._scripted if not each.used or (each.fault.times and not each.is_spent)]
