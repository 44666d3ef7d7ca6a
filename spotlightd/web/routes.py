"""How pages are found. A page is one module with `ROUTES`, and `NAV` when the navigation links to it.

To add a page, add a module to one of `PACKAGES` and a template to `templates/`. Nothing else lists pages.
What pages share is in `spotlightd.web.parts`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from aiohttp import web

from spotlightd.web.state import ExplorerContext

PACKAGES = ("spotlightd.web.pages", "spotlightd.web.symbol", "spotlightd.web.live", "spotlightd.web.swaps")
NAME = r"{name:[a-z][a-z0-9_]*}"
DIGEST = r"{digest:[0-9a-f]{64}}"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """An address of the explorer, as aiohttp writes it, and what answers GET there."""

    path: str
    handler: Handler


@dataclass(frozen=True, slots=True)
class Nav:
    """A link in the navigation. `order` sorts the links. With `keeps_as_of` the link keeps the page's `as_of`."""

    title: str
    path: str
    order: int
    fragment: str = ""
    keeps_as_of: bool = False
    is_visible: Callable[[ExplorerContext], bool] = lambda _: True


@dataclass(frozen=True, slots=True)
class Pages:
    """All pages. Routes are sorted so that a literal segment is tried before a variable one, in whichever module it is.

    `setups` prepare the application: state, background tasks, signals.
    """

    routes: tuple[Route, ...]
    navigation: tuple[Nav, ...]
    setups: tuple[Callable[[web.Application], None], ...]
    template_folders: tuple[Path, ...]


def find_pages(packages: Sequence[str] = PACKAGES) -> Pages:
    """Import every module of the packages and collect what it declares: `ROUTES`, `NAV`, `SETUP`."""
    roots = [importlib.import_module(name) for name in packages]
    modules = [module for root in roots for module in _modules(root)]
    routes = [route for module in modules for route in getattr(module, "ROUTES", ())]
    navigation = [module.NAV for module in modules if hasattr(module, "NAV")]
    return Pages(
        tuple(sorted(routes, key=_specificity)),
        tuple(sorted(navigation, key=lambda nav: (nav.order, nav.title))),
        tuple(module.SETUP for module in modules if hasattr(module, "SETUP")),
        _template_folders(roots),
    )


def _modules(package: ModuleType) -> Iterable[ModuleType]:
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        yield importlib.import_module(f"{package.__name__}.{module.name}")


def _specificity(route: Route) -> tuple[tuple[bool, ...], str]:
    return tuple("{" in segment for segment in route.path.split("/")), route.path


def _template_folders(packages: Iterable[ModuleType]) -> tuple[Path, ...]:
    """Templates are in the folder `templates` beside a package of pages."""
    folders = [Path(path).parent / "templates" for package in packages for path in package.__path__]
    return tuple(dict.fromkeys(folder for folder in folders if folder.is_dir()))
