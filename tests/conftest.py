"""How every test runs."""

from hypothesis import settings

# The same examples in every run: a test that fails here fails everywhere.
settings.register_profile("otel-sla", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("otel-sla")
