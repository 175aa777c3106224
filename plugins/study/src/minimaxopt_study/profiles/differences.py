"""The settings in which two profiles differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from minimaxopt_study.profiles.profile import Profile

PROSE = ("about", "chosen")
WITHOUT_EFFECT = ("name", *PROSE, "checkpoint_every")  # on any result


def differences(before: Profile, after: Profile, ignoring: Collection[str] = PROSE) -> list[tuple[str, Any, Any]]:
    """Return each setting that differs: its dotted name, its value before and after, in the profile's order.

    Examples:
        >>> from minimaxopt_study.profiles.profile import load_profile
        >>> differences(load_profile("quick"), load_profile("quick", rounds=4, about="words"))
        [('rounds', 3, 4)]
    """
    old, new = (dict(_flat(profile.model_dump(mode="json"))) for profile in (before, after))
    names = [name for name in dict.fromkeys((*old, *new)) if name.partition(".")[0] not in ignoring]
    return [(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
