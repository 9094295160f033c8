"""DECIDES. Frozen values and pure functions: no I/O, no clock, no logger.

Law (checked by tests/core/test_import_law.py): a module here imports the standard library's
pure parts, tree-sitter (a parser without I/O) and other modules of this room, nothing else.
"""
