"""Finding the App that ``module:attribute`` names."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from holdfast.app import App
from holdfast.errors import UsageError


def load_app(target: str) -> App:
    """Import the module, the current folder being on the path, and return its App. Raises UsageError."""
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise UsageError(f"{target!r} names no App: write module:attribute, such as orders:app for `app` in orders.py")
    module = _import(module_name)
    found: Any = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise UsageError(f"module {module_name!r} has no attribute {path!r}{_suggest(module)}") from None
    if not isinstance(found, App):
        raise UsageError(f"{target} is not a holdfast.App but of type {type(found).__name__}{_suggest(module)}")
    return found


def _import(name: str) -> ModuleType:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(
                f"there is no module {error.name!r} in {folder} or among the installed packages{_near(name)}"
            ) from error
        raise UsageError(_broken(name, error)) from error
    except (Exception, SystemExit) as error:
        raise UsageError(_broken(name, error)) from error


def _broken(name: str, error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if len(frames) > 1 else ""
    return f"module {name!r} cannot be imported: {type(error).__name__}: {error}{place}"


def _near(name: str) -> str:
    if name.endswith(".py") or "/" in name:
        guess = name.removesuffix(".py").strip("./").replace("/", ".")
        return f"; a module's name has no path and no .py: {guess}:app"
    return ""


def _suggest(module: ModuleType) -> str:
    apps = [name for name, value in vars(module).items() if isinstance(value, App)]
    return f"; did you mean {module.__name__}:{apps[0]}?" if apps else "; it holds no holdfast.App at all"
