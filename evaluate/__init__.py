"""Fourth stage: the shipped artifact is measured per language and judged (`releases/<release>/report/`).

This package shares its name with Hugging Face's `evaluate`, which the project depends on. It is laid over
the installed package: theirs stays importable under its own names (`evaluate.load`, `evaluate.Metric`),
ours adds modules beside it. Names theirs already uses are therefore not ours to take. What theirs import
into this namespace comes when the first of it is asked for: it brings all of transformers' pipelines, which
takes seconds, and the stage itself reads two of their modules only.
"""

import re as _re
import sys as _sys
from importlib.machinery import PathFinder as _PathFinder
from pathlib import Path as _Path
from typing import Any as _Any

_here = _Path(__file__).resolve().parent
_spec = _PathFinder.find_spec("evaluate", [entry for entry in _sys.path if _Path(entry or ".").resolve() != _here.parent])
if _spec is None or _spec.origin is None or _spec.submodule_search_locations is None:
    raise ImportError("Hugging Face's `evaluate` is not installed: run `make setup`, or pip install -r requirements.lock")
__path__ = [str(_here), *_spec.submodule_search_locations]
_constants, _imports = _re.split(r"^(?=from \.)", _Path(_spec.origin).read_text(encoding="utf-8"), maxsplit=1, flags=_re.MULTILINE)
exec(compile(_constants, _spec.origin, "exec"))


def __getattr__(name: str) -> _Any:
    # `from evaluate import gate` asks here before it looks for a module; `evaluator` is a module of theirs and a function
    module = any((_Path(folder) / name).is_dir() or (_Path(folder) / f"{name}.py").is_file() for folder in __path__)
    if not name.startswith("_") and (not module or _re.search(rf"^    {name},$", _imports, _re.MULTILINE)):
        del globals()["__getattr__"]  # from here on they are plain names of this namespace
        exec(_imports, globals())
        if name in globals():
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
