"""Layers over an image: boxes and segmentation masks, in named groups that a viewer can switch on and off.

Checked and copied on the program's thread; masks are encoded on the recorder's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tracelet.capture.sanitize import storable_text
from tracelet.errors import InvalidMedia
from tracelet.media import arrays, image_file

BOX_EXAMPLE = "e.g. boxes=[{'box': (x0, y0, x1, y1), 'label': 'cat', 'score': 0.9}] in pixels"
MAX_CLASS = 255


class Layers(NamedTuple):
    """The layers of one image."""

    boxes: dict[str, list[dict[str, Any]]]
    masks: dict[str, Any]
    labels: dict[int, str]

    @property
    def nbytes(self) -> int:
        """The memory of the masks."""
        return sum(arrays.size_in_memory(mask) for mask in self.masks.values())

    def encode(self) -> tuple[dict[str, Any], tuple[bytes, ...]]:
        """What the record says about them, and the masks as PNG files whose values are the classes."""
        import numpy

        extra: dict[str, Any] = {}
        attached: list[bytes] = []
        if self.boxes:
            extra["boxes"] = self.boxes
        for name, mask in self.masks.items():
            found = arrays.to_numpy(mask)
            if found.size and (found.min() < 0 or found.max() > MAX_CLASS):
                raise InvalidMedia(f"the mask {name!r} has classes outside 0 to {MAX_CLASS}")
            content = image_file.encode(numpy.ascontiguousarray(found.astype(numpy.uint8)))
            extra.setdefault("masks", {})[name] = hashlib.sha256(content).hexdigest()
            attached.append(content)
        if self.labels:
            extra["labels"] = {str(number): label for number, label in self.labels.items()}
        return extra, tuple(attached)


def checked_layers(boxes: Any, masks: Any, labels: Any) -> Layers:
    """The layers that a user gave: one group, or groups by name. Raises `InvalidMedia`."""
    if labels is not None and not isinstance(labels, Mapping):
        labels = dict(enumerate(labels))
    named = {int(number): storable_text(str(label)) for number, label in (labels or {}).items()}
    found_boxes = {name: [_box(box) for box in _listed(group)] for name, group in _groups(boxes, "boxes").items()}
    return Layers(found_boxes, {name: _mask(name, mask) for name, mask in _groups(masks, "masks").items()}, named)


def _groups(given: Any, default: str) -> dict[str, Any]:
    if given is None:
        return {}
    if isinstance(given, Mapping) and "box" not in given:
        return {storable_text(str(name)): group for name, group in given.items()}
    return {default: given}


def _listed(group: Any) -> Iterable[Any]:
    return [group] if isinstance(group, Mapping) else group


def _box(given: Any) -> dict[str, Any]:
    described = given if isinstance(given, Mapping) else {"box": given}
    try:
        x0, y0, x1, y1 = (float(corner) for corner in described["box"])
        box: dict[str, Any] = {"box": [x0, y0, x1, y1]}
        if (label := described.get("label")) is not None:
            box["label"] = storable_text(str(label))
        if (score := described.get("score")) is not None:
            box["score"] = float(score)
    except (TypeError, ValueError, KeyError) as error:
        raise InvalidMedia(f"a box cannot be read ({error!r}); {BOX_EXAMPLE}") from None
    return box


def _mask(name: str, given: Any) -> Any:
    mask = arrays.copied(given)
    if len(mask.shape) != 2:
        shape = "x".join(map(str, arrays.shape_of(mask)))
        raise InvalidMedia(f"the mask {name!r} has the shape {shape}; expected height x width, with the class of each")
    return mask
