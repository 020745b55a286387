"""The floor that works: owns every task group and every stream.

Knows the outside only through `ports`, and decides nothing that `core` can decide.
"""
