from __future__ import annotations

from hypothesis import HealthCheck, settings

# No deadline: the machines that run this are shared. No database: what failed is printed as a blob.
settings.register_profile(
    "timewright",
    deadline=None,
    database=None,
    print_blob=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("timewright")
