"""Self-Supervised Alignment with Mutual Information (SAMI, arXiv 2404.14313), and other methods without labels.

    from sami import Item, Scorer, objectives

The names of `__all__` are for everybody (docs/python.md); what else there is may move. Each is loaded when it is first
used, so that `import sami` takes no time and no torch. docs/architecture.md has a line on every module.
"""

import importlib
from typing import Any

__version__ = "0.1.0"  # the only place; pyproject.toml reads it, and a test compares CITATION.cff

_HOMES = {  # name -> module; a name that has no other home is itself one
    "objectives": "objectives",
    "records": "records",
    "Item": "scoring.layout",
    "Scorer": "scoring.scorer",
    "Outcome": "objectives",
    "TrainingExample": "records",
    "UserError": "errors",
    "information": "analysis.statistics.information",
    "paired_difference": "analysis.statistics.significance",
    "win_rate": "analysis.statistics.win_rates",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """Loads a public name. Modules of this package import from the homes instead, which digests can follow."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sami' has no attribute '{name}'")
    module = importlib.import_module(f"sami.{_HOMES[name]}")
    return module if name == _HOMES[name] else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
