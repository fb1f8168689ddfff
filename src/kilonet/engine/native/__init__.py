"""The native engine. Its C++ source is in ``native/``, next to ``src/``."""

from kilonet.engine.native.engine import NativeEngine

__all__ = ["NativeEngine"]
