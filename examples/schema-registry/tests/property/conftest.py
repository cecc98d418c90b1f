"""How many examples are tried: few in the quick profile, many in the full one (`--hypothesis-profile`)."""

from hypothesis import HealthCheck, settings

for name, examples in (("quick", 30), ("full", 300)):
    settings.register_profile(
        name,
        max_examples=examples,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
