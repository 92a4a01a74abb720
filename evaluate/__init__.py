"""Fourth stage: the shipped artifact is measured per language and judged (`releases/<release>/report/`).

This package shares its name with Hugging Face's `evaluate`, which the project depends on. It is laid over
the installed package: theirs stays importable under its own names (`evaluate.load`, `evaluate.Metric`),
ours adds modules beside it. Names theirs already uses are therefore not ours to take.
"""

import sys as _sys
from importlib.machinery import PathFinder as _PathFinder
from pathlib import Path as _Path

_here = _Path(__file__).resolve().parent
_spec = _PathFinder.find_spec("evaluate", [entry for entry in _sys.path if _Path(entry or ".").resolve() != _here.parent])
if _spec is None or _spec.origin is None or _spec.submodule_search_locations is None:
    raise ImportError("Hugging Face's `evaluate` is not installed: run `make setup`, or pip install -r requirements.lock")
__path__ = [str(_here), *_spec.submodule_search_locations]
exec(compile(_Path(_spec.origin).read_text(encoding="utf-8"), _spec.origin, "exec"))  # their names, in this namespace
