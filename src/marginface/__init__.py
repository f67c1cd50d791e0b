"""Train, judge and run face recognition models: exact losses, one head, honest intervals."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marginface.recognition.recognizer import Recognizer

__all__ = ["Recognizer"]


def __getattr__(name: str) -> Any:
    # Late, so that `import marginface.evaluation` never loads torch.
    if name == "Recognizer":
        from marginface.recognition.recognizer import Recognizer

        return Recognizer
    raise AttributeError(f"module 'marginface' has no attribute {name!r}")
