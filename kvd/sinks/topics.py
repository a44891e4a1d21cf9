"""What a subscription may say, and which topics it means."""

import re

SHAPES = {
    "surface": "surface.{venue}.{underlying}",
    "smile": "smile.{venue}.{underlying}.{expiry}",
    "atm": "atm.{venue}.{underlying}",
    "status": "status",
}
_PART = re.compile(r"\*|[A-Za-z0-9_:-]{1,64}")


def complaint(pattern: str) -> str | None:
    """Why `pattern` can match no topic, in words that say the mend; None if it can."""
    first, *rest = pattern.split(".")
    shapes = [shape for kind, shape in SHAPES.items() if first in (kind, "*")]
    shapes = [shape for shape in shapes if shape.count(".") == len(rest)] or shapes
    if not shapes:
        return f"no topic begins with {first[:64]!r}: use {', '.join(SHAPES.values())}; * matches one part"
    if all(shape.count(".") != len(rest) for shape in shapes):
        return f"{pattern[:128]!r} has {len(rest) + 1} parts: use {' or '.join(shapes)}; * matches one part"
    if not all(_PART.fullmatch(part) for part in rest):
        return f"{pattern[:128]!r} has a part that no topic has: a part is * or letters, digits, _, - and :"
    return None
