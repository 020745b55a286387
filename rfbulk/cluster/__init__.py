"""Shards sent, and remote files fetched, by the workers of a Dask cluster that the user started.

The coordinator keeps planning, grants, checkpoint, api key, rate and concurrency. A worker gets a signed URL, a list of
entries and how to pack them; what it returns is a result as any sender gives it. Each attempt is pinned to one process
by name, so that a scheduler which starts lost tasks elsewhere never makes an attempt of its own accord: whether
something may have arrived is known here, or doubted.
"""
