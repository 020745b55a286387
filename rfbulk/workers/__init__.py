"""Processes that do what one interpreter is too slow for: the parent's side, the child's, and what they say.

A process knows jobs and gives results, as a thread would. It has neither the api key nor the checkpoint.
"""
