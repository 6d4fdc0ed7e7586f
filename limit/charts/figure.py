"""A plotly figure that stays a plain dictionary for as long as a page needs nothing else.

Plotly checks each property of a figure when it is made and copies all of them when it is sent; for a page that draws a
figure in order to send it, both take longer than anything else. The tests make the check instead.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio

Spec = dict[str, Any]
_UNBUILT = "_limit_spec"


class Drawing(go.Figure):
    """Traces and a layout under plotly's own names; what is None is left out.

    It is a `plotly.graph_objects.Figure` in every way: asked for more than its dictionary, as by `figure.data` or
    `figure.update_layout`, it checks and builds itself. The dictionary is shared and must not be changed.
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], layout: Mapping[str, Any]) -> None:
        traces = [_known(trace) for trace in data]
        self.__dict__[_UNBUILT] = {"data": traces, "layout": {"template": _template(), **_known(layout)}}

    def __getattr__(self, name: str) -> Any:
        spec = None if name.startswith("__") else self.__dict__.pop(_UNBUILT, None)
        if spec is None:
            raise AttributeError(name)
        super().__init__(spec)
        return getattr(self, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return go.Figure, (self.to_dict(),)

    def to_dict(self) -> Spec:
        """Traces and layout, with plotly's default template."""
        spec: Spec | None = self.__dict__.get(_UNBUILT)
        return super().to_dict() if spec is None else spec


def _known(properties: Mapping[str, Any]) -> Spec:
    return {
        name: _known(value) if isinstance(value, dict) else value
        for name, value in properties.items()
        if value is not None
    }


@functools.cache
def _template() -> Spec:
    """What plotly puts below every figure that names no template."""
    template: Spec = pio.templates[pio.templates.default].to_plotly_json()
    return template
