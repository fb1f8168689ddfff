"""The identity of a module of the user's own, which is trained in place of a spec's layers."""

from __future__ import annotations

from pydantic import Field

from kilonet.spec.base import Spec


class Module(Spec):
    """What distinguishes a module from others; see :mod:`kilonet.engine.torch.own_module`.

    Attributes:
        name: qualified name of its class, or the name that the user gave.
        num_parameters: trained ones.
        structure: digest of its submodules, their settings, and the shapes of its state.
        source: digest of the source of its classes; "" with a name that the user gave.
    """

    name: str = Field(min_length=1)
    num_parameters: int = Field(ge=1)
    structure: str
    source: str = ""
