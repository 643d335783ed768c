"""Signal models, each in a file of its own, by name: ``models.get("t1_inversion_recovery")``.

A file of this package that decorates a model with ``@register`` adds it; nothing else is touched.
"""

import importlib
import pkgutil

from isocenter.models.base import Bound, Model, Parameter
from isocenter.registry import Registry

_REGISTRY: Registry[Model] = Registry("model")


def register(model: type) -> type:
    """Add a model class to the registry under its own name."""
    _REGISTRY.register(model.name)(model())
    return model


def get(name: str) -> Model:
    """The model called `name`; an unknown name raises ConfigError that lists the known ones."""
    return _REGISTRY.get(name)


def names() -> list[str]:
    """The names of all models."""
    return list(_REGISTRY)


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["Bound", "Model", "Parameter", "get", "names", "register"]
