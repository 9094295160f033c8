"""SHOWS to machines and browsers: HTTP over `control.py`, and nothing that decides."""
