"""Events of a run in words. For `show` and `top`; pure functions."""

from __future__ import annotations

from tracelet.cli.wording import duration, value
from tracelet.records import Event


def told(event: Event) -> str:
    """One event on one line."""
    if event.name == "fit_finished":
        found = event.attributes
        text = f"{found.get('kind')} {found.get('number')} {found.get('status')}"
        seconds = found.get("seconds")
        text += f" after {duration(seconds)}" if isinstance(seconds, (int, float)) else ""
        counted = [(found[name], name) for name in ("epochs", "steps") if found.get(name) is not None]
        extra = [f"{count} {name.removesuffix('s') if count == 1 else name}" for count, name in counted]
        extra = ["a tuner's trials"] if found.get("tuned") else extra
        return ", ".join([text, *extra, *([value(found["reason"])] if found.get("reason") else [])])
    attributes = ", ".join(f"{value(name)}={value(found)}" for name, found in event.attributes.items())
    return f"{value(event.name)} {attributes}".rstrip()
