"""How long it is tried for: little with all other tests, as long as told by `make fuzz`.

`RFBULK_FUZZ_EXAMPLES` is the number of cases of each property. Without it cases are the same on every run.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_ASKED = os.environ.get("RFBULK_FUZZ_EXAMPLES")
IS_LONG = _ASKED is not None
EXAMPLES = int(_ASKED or 60)


def profile(examples: int = EXAMPLES) -> settings:
    """Settings for so many cases: the same ones each time, unless many are asked for."""
    return settings(
        max_examples=max(1, examples),
        deadline=None,
        derandomize=not IS_LONG,
        print_blob=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
