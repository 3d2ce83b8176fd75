"""What a function is made of: its code, and all that it names, so that an edited one can be told from an older one."""
from __future__ import annotations

import dataclasses
import dis
import functools
import hashlib
import sys
import sysconfig
import types
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from torch import Tensor, nn

_CODE = "code"
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"  # each has bytecode of its own

_GLOBALS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_CLOSURES = ("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")
_CHANGES = ("append", "appendleft", "extend", "insert", "add", "update", "setdefault", "pop", "popleft", "remove",
            "clear")
_BEGINS = ("__init__", "__post_init__", "__new__")  # what these store is a setting, what other methods store a state



def walk(name: str, thing: object) -> Iterator[tuple[str, object]]:
    """``thing`` and all that it is made of, by path: ('loss', f), ('loss.WEIGHT', 0.1), ('loss.helper', g), …

    That are the globals and closures of a function, down to what the dotted name leads to (``S.rate``), its defaults,
    what partial and methods hold, the entries of containers, the methods and attributes of objects whose class isn't a
    library's. Of a library's function only the closure is entered, of its objects nothing. What a function or method
    changes itself (a counter, a list that it appends to) is left out.
    """
    todo, seen = [(name, thing)], {}
    while todo:
        path, thing = todo.pop(0)
        if id(thing) in seen:
            continue
        if not atom(thing):
            seen[id(thing)] = thing  # kept, so that no other object gets its number
        yield path, thing
        todo += [(path if part == "" else f"{path}.{part}", value) for part, value in _parts(thing)]


def nets_in(thing: object) -> list[nn.Module]:
    """``thing`` itself if it is a net, else the nets that it names."""
    return [part for _, part in walk("", thing) if isinstance(part, nn.Module)]


def atom(thing: object) -> bool:
    """Whether ``thing`` is None, a number or text."""
    return thing is None or isinstance(thing, (bool, int, float, complex, str, bytes))


def digest(code: types.CodeType) -> str:
    """'code 3.11 ' and 12 hex digits that change with instructions, names and constants, not with place or docstring."""
    return f"{_CODE} {PYTHON} {hashlib.sha256(_text(code).encode()).hexdigest()[:12]}"


def is_digest(text: str) -> bool:
    """Whether ``digest`` returned ``text``, in this Python or another."""
    return text.startswith(f"{_CODE} ")


def from_other_python(text: str) -> bool:
    """Whether ``digest`` returned ``text`` in another Python, where the same function has other bytecode."""
    return is_digest(text) and text.split()[1] != PYTHON


def warn_of_other_python(training: str, path: object) -> None:
    """Say in one line why the ``training`` doesn't go on from the checkpoint at ``path``."""
    warnings.warn(f"{training}: the checkpoint {path} is of another Python than {PYTHON}, which compiles functions "
                  "otherwise: nobody can say whether they changed. Training starts anew.")


def from_library(thing: object) -> bool:
    """Whether the function or class ``thing`` comes from Python, from an installed library or from this package."""
    if isinstance(thing, types.FunctionType):  # __module__ may be that of what it wraps
        return _is_library(thing.__globals__.get("__name__") or "")
    return _is_library(getattr(thing, "__module__", None) or "builtins")


@functools.cache
def _is_library(module: str) -> bool:
    top = module.partition(".")[0]
    if top in ("", "__main__", "__mp_main__") or module not in sys.modules:
        return False
    file = getattr(sys.modules[module], "__file__", None)
    if top == __package__.partition(".")[0] or file is None:
        return True
    beside = {"site-packages", "dist-packages"} & set(Path(file).parts)
    return bool(beside) or Path(file).is_relative_to(sysconfig.get_path("stdlib"))


def _text(constant: object) -> str:
    """A constant or a code object, the same text in every session."""
    if isinstance(constant, types.CodeType):
        steps = [f"{one.opname} {_text(one.argval)}" for one in dis.get_instructions(constant)]
        inputs = constant.co_varnames[: constant.co_argcount + constant.co_kwonlyargcount]
        return "\n".join([repr(inputs), *steps, constant.co_exceptiontable.hex()])
    if isinstance(constant, tuple):
        return f"({', '.join(map(_text, constant))})"
    if isinstance(constant, frozenset):  # its order changes from session to session
        return f"{{{', '.join(sorted(map(_text, constant)))}}}"
    return repr(constant)


def _parts(thing: object) -> list[tuple[object, object]]:
    """(name, part) of everything that ``thing`` is directly made of."""
    if isinstance(thing, functools.partial):
        return [("", thing.func), *enumerate(thing.args), *thing.keywords.items()]
    if isinstance(thing, types.MethodType):
        return [("", thing.__func__), ("self", thing.__self__)]
    if isinstance(thing, types.FunctionType):
        return list(_cells(thing).items()) if from_library(thing) else _named_by(thing)
    if isinstance(thing, type):
        return [] if from_library(thing) else _body(thing)
    if isinstance(thing, nn.Module):
        return _classes(thing)
    if isinstance(thing, (dict, list, tuple)):
        entries = list(thing.items() if isinstance(thing, dict) else enumerate(thing))
        return [] if all(atom(value) for _, value in entries) else entries
    if isinstance(thing, (staticmethod, classmethod, functools._lru_cache_wrapper)):
        return [("", thing.__wrapped__)]
    if isinstance(thing, property):
        return [("", thing.fget)]
    return _attributes(thing) if _is_open(thing) else []


def _is_open(thing: object) -> bool:
    """Whether the attributes of the object ``thing`` are settings: what a library's object holds may be anything."""
    ours = isinstance(thing, types.SimpleNamespace) or dataclasses.is_dataclass(thing) or not from_library(type(thing))
    return ours and hasattr(thing, "__dict__")


def _attributes(thing: object) -> list[tuple[str, object]]:
    kind = type(thing)
    methods = [method for base in kind.__mro__ if not from_library(base) for method in vars(base).values()]
    changed = {name for method in methods if isinstance(method, types.FunctionType) and method.__name__ not in _BEGINS
               for name in _stored(method, "STORE_ATTR")}
    return [(kind.__name__, kind), *((name, value) for name, value in vars(thing).items() if name not in changed)]


def _body(kind: type) -> list[tuple[str, object]]:
    """Methods, plain class attributes and bases.

    Python's own notes on a class (__doc__, __firstlineno__, …) don't count, nor how a net is built: its layers do.
    """
    methods = (types.FunctionType, staticmethod, classmethod, property)
    left_out = _BEGINS if issubclass(kind, nn.Module) else ()
    counts = [(name, value) for name, value in vars(kind).items()
              if name not in left_out and (isinstance(value, methods) or not name.startswith("__"))]
    return counts + [(base.__name__, base) for base in kind.__bases__ if base is not object]


def _classes(net: nn.Module) -> list[tuple[str, object]]:
    """The classes of the layers of ``net`` that a notebook defines, and the plain attributes of such layers."""
    own = [(name, part) for name, part in net.named_modules() if not from_library(type(part))]
    held = [(name, key, value) for name, part in own for key, value in _attributes(part)
            if isinstance(value, type) or key != "training" and key[0] != "_" and (atom(value) or callable(value))]
    return [(f"{name}.{key}" if name else key, value) for name, key, value in held]


def _cells(function: types.FunctionType) -> dict[str, object]:
    """What the function sees of the functions around it; a name that is not set yet is left out."""
    cells = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        with suppress(ValueError):
            cells[name] = cell.cell_contents
    return cells


def _named_by(function: types.FunctionType) -> list[tuple[str, object]]:
    """The values of the globals and closures that ``function`` names, and its defaults."""
    cells, found = _cells(function), {}
    changed, set_on = _stored(function, "STORE_GLOBAL", "STORE_DEREF"), _stored(function, "STORE_ATTR")
    for is_global, path in _paths(function):
        names = function.__globals__ if is_global else cells
        if path[0] in names:
            reached, value = _follow(names[path[0]], path)
            if isinstance(value, (list, dict, set, deque, Tensor)) and _is_change(path[len(reached):]):
                changed.add(path[0])
            found[reached] = value
    kept = [(".".join(path), value) for path, value in sorted(found.items(), key=lambda one: one[0])
            if path[0] not in changed and not set_on & set(path[1:])]
    with_default = function.__code__.co_varnames[: function.__code__.co_argcount][::-1]
    defaults = dict(zip(with_default, (function.__defaults__ or ())[::-1])) | (function.__kwdefaults__ or {})
    return kept + list(defaults.items())


def _is_change(methods: tuple[str, ...]) -> bool:
    """Whether the first name is a method that changes what it is called on: ``append``, ``add_`` of a tensor."""
    return bool(methods) and (methods[0] in _CHANGES or methods[0].endswith("_") and not methods[0].startswith("_"))


def _follow(value: object, path: tuple[str, ...]) -> tuple[tuple[str, ...], object]:
    """As much of ``path`` as leads through modules, classes and objects with attributes, and what stands at its end."""
    for number, name in enumerate(path[1:], start=1):
        entered = isinstance(value, (types.ModuleType, type)) or _is_open(value) and not isinstance(value, nn.Module)
        if not entered or name not in vars(value):
            return path[:number], value
        value = vars(value)[name]
    return path, value


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _paths(function: types.FunctionType) -> list[tuple[bool, tuple[str, ...]]]:
    """The dotted names that the function, and functions within it, read: (True for a global, ('S', 'rate')), …"""
    found = []
    for code in _codes(function.__code__):
        going_on = False
        for step in dis.get_instructions(code):
            if step.opname in _GLOBALS or step.opname in _CLOSURES:
                found.append((step.opname in _GLOBALS, (step.argval,)))
                going_on = True
            elif going_on and step.opname in _ATTRIBUTES:
                found[-1] = (found[-1][0], (*found[-1][1], step.argval))
            elif step.opname != "EXTENDED_ARG":
                going_on = False
    return found


def _stored(function: types.FunctionType, *stores: str) -> set[str]:
    """The names that the function, or one within it, gives a new value to by one of the instructions ``stores``."""
    steps = (step for code in _codes(function.__code__) for step in dis.get_instructions(code))
    return {step.argval for step in steps if step.opname in stores}
