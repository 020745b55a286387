"""What a bucket may get over. Apart from the buckets themselves: whoever sends files needs no more of them."""

from __future__ import annotations


class BucketTrouble(Exception):
    """The store did not answer, or answered that it cannot just now: it may the next time. Its text is safe to show."""
