"""The options of a factory: read from its signature, shown to people, converted from Python values and from text."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from minimaxopt.errors import ArgumentError, PluginError, unknown_name

if TYPE_CHECKING:
    from docstring_parser import Docstring

_WORDS: Mapping[str, object] = {"true": True, "false": False, "none": None, "null": None}


@dataclass(frozen=True)
class Option:
    """One option of a problem, or one setting of a solver.

    Args:
        name: as written in ``load_problem(..., name=value)`` and ``--set name=value``.
        type: the annotation, constraints included.
        default: the value where none is given.
        help: a phrase for people.
    """

    name: str
    type: Any
    default: Any
    help: str = ""

    @property
    def type_name(self) -> str:
        """The type as a person would write it, without help and constraints."""
        return _written(self.type)


def _written(type_: Any) -> str:
    origin, arguments = get_origin(type_), get_args(type_)
    if origin is Annotated:
        return _written(arguments[0])
    if origin in (Union, UnionType):
        return " | ".join(map(_written, arguments))
    if origin is Literal:
        return " | ".join(map(repr, arguments))
    if type_ is NoneType:
        return "None"
    if isinstance(type_, type) and not arguments:
        return type_.__name__
    return str(type_).replace("typing.", "").replace("collections.abc.", "")


def describe_options(build: Callable[..., object]) -> list[Option]:
    """List the options of a problem's factory, in the order of its signature.

    Args:
        build: a callable each of whose parameters is ``name: Annotated[type, "help"] = default``.

    Raises:
        PluginError: a parameter lacks its type, help or default, or cannot be given by name.

    >>> def build(eta: Annotated[float, "radius of the attack"] = 0.3): ...
    >>> describe_options(build)
    [Option(name='eta', type=typing.Annotated[float, 'radius of the attack'], default=0.3, help='radius of the attack')]
    """
    try:
        signature = inspect.signature(build, eval_str=True)
    except (NameError, SyntaxError, TypeError, ValueError, AttributeError) as error:
        raise PluginError(
            f"{_title(build)}: its annotations cannot be read ({error}); "
            "import at the top of the module, outside TYPE_CHECKING, every type that they name"
        ) from error
    return [_option(build, parameter) for parameter in signature.parameters.values()]


def _option(build: Callable[..., object], parameter: inspect.Parameter) -> Option:
    name = parameter.name
    remedy = f'write {name}: Annotated[type, "help"] = default'
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise PluginError(f"{_title(build)}: option {str(parameter)!r} cannot be given by name; {remedy}")
    metadata = get_args(parameter.annotation)[1:] if get_origin(parameter.annotation) is Annotated else ()
    text = next((item for item in metadata if isinstance(item, str) and item.strip()), None)
    if text is None:
        missing = "type" if parameter.annotation is parameter.empty else "help text"
        raise PluginError(f"{_title(build)}: option {name!r} has no {missing}; {remedy}")
    if parameter.default is parameter.empty:
        raise PluginError(f"{_title(build)}: option {name!r} has no default; {remedy}")
    return Option(name, parameter.annotation, parameter.default, text)


def describe_settings(build: Callable[..., object]) -> list[Option]:
    """List the settings of a solver or callback: the fields of a dataclass, or the parameters of a factory.

    Types that cannot be resolved at run time (imported under ``TYPE_CHECKING``) are given as ``Any``: a solver's own
    checks judge its settings, the types only help to read them from text. Their help is the docstring's ``Args:``.

    Raises:
        PluginError: a setting has no default or cannot be given by name.
    """
    try:
        parameters = inspect.signature(build, eval_str=True).parameters.values()
        resolved = True
    except (NameError, SyntaxError, TypeError, AttributeError):
        parameters = inspect.signature(build).parameters.values()
        resolved = False
    factories = _default_factories(build)
    help_by_name = _help_by_name(build)
    settings: list[Option] = []
    for parameter in parameters:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise PluginError(f"{_title(build)}: setting {str(parameter)!r} cannot be given by name; name each setting")
        if parameter.default is parameter.empty:
            raise PluginError(f"{_title(build)}: setting {parameter.name!r} has no default; give it one")
        default = factories[parameter.name]() if parameter.name in factories else parameter.default
        known = resolved and parameter.annotation is not parameter.empty
        annotation = parameter.annotation if known else Any
        settings.append(Option(parameter.name, annotation, default, help_by_name.get(parameter.name, "")))
    return settings


def _default_factories(build: Any) -> dict[str, Callable[[], object]]:
    fields = dataclasses.fields(build) if dataclasses.is_dataclass(build) else ()
    return {f.name: f.default_factory for f in fields if f.default_factory is not dataclasses.MISSING}


def parsed_docstring(build: Callable[..., object]) -> Docstring:
    """Return the docstring of a factory in its parts: description and arguments among them."""
    from docstring_parser import parse  # here, so that `import minimaxopt` does not load it

    text = inspect.getdoc(_unwrapped(build)) or ""
    return parse(text.partition("\nSource:")[0])  # a section of ours, which the library does not know


def _help_by_name(build: Callable[..., object]) -> dict[str, str]:
    return {
        name: " ".join((argument.description or "").split())
        for argument in parsed_docstring(build).params
        for name in re.split(r",\s*", argument.arg_name)
    }


def check_names(argument: str, names: Iterable[str], options: Sequence[Option]) -> None:
    """Raise unless every name is that of an option.

    Args:
        argument: subject of the error message.
        names: as passed by the user.
        options: the options to choose from.

    Raises:
        UnknownNameError: for the first that is not, with the known options and the nearest spelling.
    """
    known = {option.name for option in options}
    for name in names:
        if name not in known:
            raise unknown_name(argument, name, known)


def convert(option: Option, value: object) -> Any:
    """Convert a Python value, or a text that says one, to the option's type.

    Raises:
        ArgumentError: the value does not fit the type; the message names the option, the reason and the remedy.
        PluginError: pydantic cannot check the option's type.

    >>> eta = Option("eta", float, 0.3)
    >>> convert(eta, 1), convert(eta, "0.25")
    (1.0, 0.25)
    """
    return _first_fit(option, value, [value, *_readings(value)] if isinstance(value, str) else [value])


def from_text(option: Option, text: str) -> Any:
    """Read a value as typed on a command line: ``0.2``, ``true``, ``none``, ``[1, 2]``, ``1,2`` or plain text.

    A number is read as a number wherever the type allows one (``float | str``), unlike in :func:`convert`, which leaves
    a text that already fits alone.

    Raises:
        ArgumentError: the text does not fit the type.
        PluginError: pydantic cannot check the option's type.

    >>> from_text(Option("etas", tuple[float, ...], ()), "0.2,0.4")
    (0.2, 0.4)
    """
    return _first_fit(option, text, _readings(text))


def _first_fit(option: Option, value: object, readings: Iterable[object]) -> Any:
    # Imported here: a tenth of a second that `import minimaxopt` should not cost.
    from pydantic import PydanticUserError, TypeAdapter, ValidationError

    try:
        adapter = TypeAdapter[Any](option.type)
    except PydanticUserError as error:
        reason = str(error).splitlines()[0]
        raise PluginError(f"{option.name}: values of type {option.type_name} cannot be checked ({reason})") from error
    refusals: list[str] = []
    for reading in readings:
        try:
            return adapter.validate_python(reading)
        except ValidationError as error:
            refusals.append(_reason(error))
    default = f"such as {option.default!r}, the default" if option.default is not None else "or leave it out"
    raise ArgumentError(f"{option.name}: {value!r} does not fit: {refusals[0]}; give {option.type_name}, {default}")


def _reason(error: Any) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    place = "".join(f"[{part!r}]" for part in first["loc"] if isinstance(part, int))
    text = str(first["msg"])
    return (f"at {place} " if place else "") + text[:1].lower() + text[1:]


def _readings(text: str) -> list[object]:
    """Return the values that a text may stand for, the likeliest first: a literal, itself, a list of its parts."""
    literal = _literal(text.strip())
    parts: object = [part.strip() for part in text.split(",")] if text.strip() else []
    return [text, parts] if isinstance(literal, str) else [literal, text, parts]


def _literal(text: str) -> object:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    return text


def _title(build: Callable[..., object]) -> str:
    build = _unwrapped(build)
    return str(getattr(build, "__qualname__", repr(build)))


def _unwrapped(build: Callable[..., object]) -> Callable[..., object]:
    return build.func if isinstance(build, functools.partial) else build
