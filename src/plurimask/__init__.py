"""plurimask: the panel of experts, as software.

    import plurimask as pm
    panel = pm.load("lidc").sample(image, count=16, seed=0)

The public names stand in `__init__.pyi`. Each is imported when it is first used.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
