"""What the server of `tests.processes` imports once."""

import os

os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

import torch
import torch.distributed
import torch.distributed.checkpoint
import torch.distributed.tensor

import marginface.heads
import marginface.losses
import marginface.training  # noqa: F401

# The first optimiser of a process imports for a second and a half.
torch.optim.SGD([torch.zeros(1)])
