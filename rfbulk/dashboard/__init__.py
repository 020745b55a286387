"""What the operator sees in a browser: a chronicle of events, the page that shows it live, the report that keeps it.

The chronicle is pure. This floor reads no checkpoint and calls no service; what it shows, it is given.
"""
