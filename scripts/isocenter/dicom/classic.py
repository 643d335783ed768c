"""Classic files: a header that decodes only what is asked for, as thousands of files are asked the same few things.

pydicom decodes an element into typed objects with their own checks; for plain text and numbers in text that is most
of the time that an intake takes. Whatever is not plain goes to pydicom.
"""

from functools import cache
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

#: Value representations that are ASCII text, with several values behind backslashes.
PLAIN = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI"})


class ClassicView:
    """One classic file, read by keyword or by private (group, element) tag."""

    def __init__(self, dataset: Dataset):
        self._dataset = dataset
        self._tags = dataset.keys()
        self._read: dict[Any, Any] = {}

    def get(self, key: Any, default: Any = None) -> Any:
        """The value behind a keyword (plain text comes as text), or the element behind a private tag."""
        if key in self._read:
            return self._read[key]
        tag = _tag(key)
        if tag not in self._tags:
            return default
        value = self._read[key] = self._decode(key, tag)
        return value

    def _decode(self, key: Any, tag: BaseTag) -> Any:
        if not isinstance(key, str):
            return self._dataset[tag]
        raw = self._dataset.get_item(tag)
        is_plain = isinstance(raw, RawDataElement) and raw.VR in PLAIN and isinstance(raw.value, bytes)
        if is_plain and raw.value.isascii():
            text = raw.value.decode("ascii").strip(" \0")
            return text.split("\\") if "\\" in text else text
        return self._dataset[tag].value


@cache
def _tag(key: str | tuple[int, int]) -> BaseTag:
    return Tag((tag_for_keyword(key) or 0) if isinstance(key, str) else key)
