"""TOUCHES. One module for each outside thing; small verbs, no decisions.

Law (checked by tests/core/test_import_law.py): a module here may import `timewright.core` and
other modules of this room, never reconcile, service, api or cli. Only `process.py` starts processes.
"""
