"""Poses: read, written as JSON, drawn."""
