"""Ingests without uploads: of references to files elsewhere, and of what the platform itself holds."""
