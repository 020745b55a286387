"""Applications that embed rfbulk, small enough to be read, and run by the tests as they stand.

Each begins with how it is run. They know nothing but the public library, `import rfbulk`, and what they are built with.
"""
