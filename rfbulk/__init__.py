"""Move image sets into Roboflow Data Staging and bring results home, fast and exactly once."""

__version__ = "0.1.0"
