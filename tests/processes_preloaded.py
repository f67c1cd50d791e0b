"""What the server of `tests.processes` imports once."""

import os

os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

import torch.distributed  # noqa: F401

import marginface.heads
import marginface.losses  # noqa: F401
