"""The floor that decides.

Pure: nothing here awaits, opens a file or a socket, reads a clock or draws a random number.
What a decision needs is given to it, and it returns what should be done without doing it.
"""
