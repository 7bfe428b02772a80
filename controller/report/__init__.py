"""Telling people and machines what happened; a failing report never fails a sync."""
