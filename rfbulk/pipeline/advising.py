"""Advises the operator of an upload: once what it will take, and once if its batch will expire before it is whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rfbulk.core.advice import (
    KEPT_SECONDS,
    Expected,
    Measured,
    Work,
    expected_from,
    expiry_warning,
    is_worth_advice,
    paragraph,
    will_expire,
)
from rfbulk.core.forecast import History
from rfbulk.events import Advised, BatchExpires, Event, PhaseChanged, UploadProgress, Warned

if TYPE_CHECKING:
    from rfbulk.core.forms import Form
    from rfbulk.events import OnEvent

LOOK_SECONDS: Final = 5.0
"""Between two looks at what an upload will take."""

FIRST_SECONDS: Final = 60.0
"""From then on its own rate is believed, and no longer that of an earlier run."""

PATIENCE_SECONDS: Final = 600.0
"""A scan that takes longer than this is not waited for: the advice is of what is found so far."""

OWN_RATE: Final = "the rate of this run so far"


@dataclass(slots=True)
class Adviser:
    """Hands events on, and tells advice between them. One for an upload.

    `earlier` is what the latest measured run did, and `origin` the words for it.
    """

    tell: OnEvent
    form: Form
    earlier: Measured | None = None
    origin: str = ""
    limit_rate: int | None = None
    _expires_at: float = KEPT_SECONDS
    _looked_at: float = 0.0
    _is_sending: bool = True
    _began: float | None = None
    _last: UploadProgress | None = None
    _sent_until: float = 0.0
    _history: History = field(default_factory=History)
    _has_advised: bool = False
    _has_warned: bool = False

    def take(self, event: Event) -> None:
        """Hand an event on, and advise if it is time."""
        self.tell(event)
        if isinstance(event, UploadProgress):
            self._last = event
            if self._is_sending:
                self._note(event)
        elif isinstance(event, BatchExpires):
            self._expires_at = event.seconds
        elif isinstance(event, PhaseChanged) and event.phase in {"confirming", "stopping", "done"}:
            self._is_sending = False

    @property
    def measured(self) -> Measured:
        """What this run has sent in how many seconds of sending."""
        if self._last is None or self._began is None:
            return Measured(0.0, 0, 0)
        last = self._last  # it may have come after the sending, and has what the last shards brought
        done = last.bytes_sent - last.bytes_before
        return Measured(self._sent_until - self._began, done, last.images_sent - last.images_before)

    def _note(self, event: UploadProgress) -> None:
        self._sent_until = event.seconds
        if self._began is None:
            if not event.bytes_on_the_wire:
                return
            self._began = event.seconds
            self._history.note(event.seconds, 0.0)
        self._history.note(event.seconds, self._done(event) - event.bytes_before)
        if event.seconds - self._looked_at >= LOOK_SECONDS and not (self._has_advised and self._has_warned):
            self._looked_at = event.seconds
            self._look(event, event.seconds - self._began)

    def _look(self, event: UploadProgress, sent_for: float) -> None:
        work = self._work(event)
        expires_in = self._expires_at - event.seconds
        own = self._expected(event, sent_for) if sent_for >= FIRST_SECONDS else None
        expected = own or self._expected_from_earlier(work)
        is_ready = event.scan_finished or event.seconds >= PATIENCE_SECONDS
        if not self._has_advised and is_ready and is_worth_advice(expected, expires_in) and expected is not None:
            self._has_advised = True
            self._has_warned = expected.forecast.seconds > expires_in
            self.tell(Advised(paragraph(work, expected, expires_in)))
        elif not self._has_warned and own is not None and will_expire(own.forecast, expires_in):
            self._has_warned = True
            self.tell(Warned(expiry_warning(own.forecast, expires_in)))

    def _work(self, event: UploadProgress) -> Work:
        files = event.images_planned - event.images_sent
        shards = event.shards_planned - event.shards_sent - event.shards_failed
        return Work(self.form, files, event.bytes_planned - self._done(event), shards, event.scan_finished)

    def _expected(self, event: UploadProgress, sent_for: float) -> Expected | None:
        left = event.bytes_planned - self._done(event)
        forecast = self._history.forecast(left, event.rest_seconds)
        if forecast is None:
            return None
        return Expected(forecast, (self._done(event) - event.bytes_before) / sent_for, OWN_RATE)

    def _expected_from_earlier(self, work: Work) -> Expected | None:
        if self.earlier is None:
            return None
        return expected_from(self.earlier, work, self.origin, self.limit_rate)

    @staticmethod
    def _done(event: UploadProgress) -> int:
        return min(event.bytes_planned, event.bytes_sent + event.bytes_in_flight)
