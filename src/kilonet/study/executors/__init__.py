"""Executors: where trials train."""
