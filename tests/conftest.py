"""Settings that all tests share."""

from hypothesis import settings

# A time limit on single examples fails on a busy machine, and says nothing of the code.
settings.register_profile("plurimask", deadline=None, max_examples=50)
settings.load_profile("plurimask")
