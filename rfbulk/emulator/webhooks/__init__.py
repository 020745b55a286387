"""Webhooks: what the service tells of its own accord, delivered until it is taken, or as badly as is wanted."""
