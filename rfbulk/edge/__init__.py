"""The floor that touches the outside: one thing per module, its errors translated once.

Knows `core` and `errors`; never `pipeline`, `client` or `cli`.
"""
