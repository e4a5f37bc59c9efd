"""Waiting: one scheduler looks at all tasks that somebody waits for."""
