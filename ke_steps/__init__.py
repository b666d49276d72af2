"""Knowledge entropy: the public door's names, and the steps of the workflow, a module per rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ke_steps.public.call import measure as measure
    from ke_steps.public.callback import KnowledgeEntropyCallback as KnowledgeEntropyCallback


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for, as the steps need none of them."""
    if name == "measure":
        from ke_steps.public.call import measure

        return measure
    if name == "KnowledgeEntropyCallback":
        from ke_steps.public.callback import KnowledgeEntropyCallback

        return KnowledgeEntropyCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
