"""What verbs that check specs need of the settings, without a daemon. Apart from common.py, since it loads
the reader of specs and the compiler's client: half a second that `status` must not cost."""

from __future__ import annotations

from dataclasses import replace

from timewright.config import Config
from timewright.core.document import Limits
from timewright.core.prepare import Host
from timewright.service import make_compiler, make_host


def limits_from(config: Config) -> Limits:
    """What a spec may cost, by the config."""
    return Limits(bytes=config.source.max_spec_bytes, files=config.source.max_files)


def offline_host(config: Config) -> Host:
    """What this host gives to specs, without starting or looking for a compiler: for verbs that only
    read. Its digests are none that a deploy would make."""
    idle = replace(config, compiler=replace(config.compiler, mode="off"))
    return make_host(idle, make_compiler(idle, config.data_path / "cache"))
