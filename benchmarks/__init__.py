"""Benchmarks of rfbulk beside its rivals and its limit; a scenario is a module that states its question.

Nothing here is imported by the product, and the product is used only as its users use it: by its command line, and
by its public names.
"""
