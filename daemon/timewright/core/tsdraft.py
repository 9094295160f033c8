"""A release's compiler options while they are put together: see `tsconfig.py`. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Draft:
    """`version`: (major, minor) of the TypeScript that judges. `package_type`, `mixed`: as in
    `tsconfig.compiler_options`. `deprecated`: an option is in use that TypeScript 6 would refuse."""

    version: tuple[int, int]
    package_type: str = "commonjs"
    mixed: bool = False
    options: dict[str, object] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    deprecated: bool = False

    def note(self, name: str, text: str) -> None:
        self.notes.append(f"compilerOptions.{name}: {text}")

    def deprecate_if(self, condition: bool) -> None:
        """TypeScript 6 still has what 7 dropped, when told that we know."""
        self.deprecated = self.deprecated or (condition and self.version[0] == 6)


def lower(value: object) -> str:
    """A choice as TypeScript reads it; '' for what is no text."""
    return value.lower() if isinstance(value, str) else ""
