"""The native engine; its kernels are in ``native/`` beside ``src/``."""

from kilonet.engine.native.engine import NativeEngine

__all__ = ["NativeEngine"]
