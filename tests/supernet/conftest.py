"""Images that do not fit in memory: where they are decoded to, and what was decoded."""

import pytest

from supernet.data import Decoding
from supernet.data import decoding as decoding_module
from supernet.data.images import Decoder


@pytest.fixture
def decoding(tmp_path):
    return Decoding(tmp_path / "datasets")


@pytest.fixture
def short(monkeypatch):
    """No image fits in memory."""
    monkeypatch.setattr(decoding_module, "MEMORY_SHARE", 0.0)


@pytest.fixture
def decoded(monkeypatch):
    """Images that were decoded, counted."""
    original, count = Decoder.decode, []

    def counting(self, content):
        count.append(content)
        return original(self, content)

    monkeypatch.setattr(Decoder, "decode", counting)
    return count
