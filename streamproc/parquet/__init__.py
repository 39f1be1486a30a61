"""Rows in files: written, read back, merged."""
