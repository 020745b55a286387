"""Whether a worker fits, and why not, from what it said of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from rfbulk.cluster import probing
from rfbulk.cluster.parcels import Parcel
from rfbulk.errors import UsageError

if TYPE_CHECKING:
    from rfbulk.cluster.desk import Mate
    from rfbulk.cluster.probing import Sample, Seen


def sample_parcel(sample: Sample) -> Parcel:
    """Return a sample as it travels."""
    return Parcel(msgspec.msgpack.encode(sample), "rfbulk-probe")


def why_unfit(seen: Seen) -> str:
    """Tell why a worker gets no work, empty if it does."""
    ours = probing.versions()["rfbulk"]
    if seen.versions.get("rfbulk") != ours:
        return f"it has rfbulk {seen.versions.get('rfbulk')}, here is {ours}"
    return "; ".join(seen.faults[:3])


def why_silent(answer: object) -> str:
    """Tell why a worker gave no answer."""
    if isinstance(answer, ImportError | AttributeError):
        return f"it has no rfbulk {probing.versions()['rfbulk']}: install rfbulk[dask] there"
    return f"it did not answer: {type(answer).__name__}"


def none_fits(mates: Sequence[Mate]) -> UsageError:
    """Return the error of a cluster of which no worker is of use."""
    whys = sorted({mate.unfit for mate in mates})
    return UsageError(
        "use",
        "the cluster",
        cause=f"none of its {len(mates)} workers fits: {'; '.join(whys[:3])}",
        advice="mend them, or --path-map /here=/there; `rfbulk cluster check` tells more",
    )
