"""timewright: GitOps for Temporal TypeScript workflows on a plain host."""

__version__ = "0.1.0"
