"""Batch processing: jobs that really read what is staged, and write what they found into batches of parts."""
