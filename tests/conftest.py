"""For every suite: property tests have no deadline, since a busy machine is not a failure."""

from hypothesis import settings

settings.register_profile("inlet", deadline=None)
settings.load_profile("inlet")
