"""The head: class vectors, dense or streamed, and the walk over them that applies a loss."""

from marginface.heads.identity import IdentityHead

__all__ = ["IdentityHead"]
