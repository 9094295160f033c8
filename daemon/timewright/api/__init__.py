"""SHOWS to machines and browsers: HTTP over control.py, which decides what is granted. Here is how one calls,
who it is, and what an answer looks like; nothing of what a workflow is."""
