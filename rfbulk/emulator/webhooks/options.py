"""How notifications are sent, and how badly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from rfbulk.emulator.checks import check_choice, check_range

if TYPE_CHECKING:
    import ssl

Authorization = Literal["bearer", "bare", "none"]


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """How notifications are sent.

    | option | meaning |
    | --- | --- |
    | authorization | `Bearer` and the workspace's publishable key; the key alone, as older deployments do; or nothing |
    | workspace_id | the publishable key is `rf_` and this; by default the workspace's name |
    | attempts | how often a notification is sent at most, until it is answered with 2xx |
    | first_seconds, cap_seconds | the wait behind the first attempt, and the longest; it doubles in between |
    | timeout_seconds | how long an answer is waited for |
    | duplicates | so many more deliveries of each notification that was taken |
    | conflicting | one more delivery of each, under the same event id, that says the contrary |
    | reorder | each second notification overtakes the one ahead of it |
    | silent | nothing is sent at all |
    | allow_remote | send to other machines, too |
    | tls | whom to trust at https targets |
    """

    authorization: Authorization = "bearer"
    workspace_id: str | None = None
    attempts: int = 6
    first_seconds: float = 0.5
    cap_seconds: float = 30.0
    timeout_seconds: float = 10.0
    duplicates: int = 0
    conflicting: bool = False
    reorder: bool = False
    silent: bool = False
    allow_remote: bool = False
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: an option is outside its range; the text names it.
        """
        check_choice(self, "authorization", get_args(Authorization))
        check_range(self, "attempts", 1, 1000)
        check_range(self, "first_seconds", 0, 3600)
        check_range(self, "cap_seconds", 0, 3600)
        check_range(self, "timeout_seconds", 0.001, 3600)
        check_range(self, "duplicates", 0, 1000)
