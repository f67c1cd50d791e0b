"""The running average, followed by hand."""

import pytest
import torch
from torch import nn

from marginface.training.ema import make_ema


def test_the_average_warms_up_and_then_keeps_its_decay() -> None:
    net = nn.Linear(1, 1, bias=False)
    ema = make_ema(net, decay=0.2)
    values = [1.0, 2.0, 5.0, -3.0, 4.0]
    expected = values[0]
    for updates, value in enumerate(values):
        with torch.no_grad():
            net.weight.fill_(value)
        ema.update_parameters(net)
        if updates:
            keep = min(0.2, (1 + updates) / (10 + updates))
            expected = keep * expected + (1 - keep) * value
        assert float(ema.module.weight) == pytest.approx(expected, rel=1e-6)
    # 2/11 and 3/12: both sides of the minimum have been walked.
    assert (1 + 1) / (10 + 1) < 0.2 < (1 + 2) / (10 + 2)


def test_batch_statistics_are_averaged_and_counts_are_copied() -> None:
    net = nn.BatchNorm1d(2)
    ema = make_ema(net, decay=0.5)
    for _ in range(3):
        net(torch.randn(4, 2) + 7)
        ema.update_parameters(net)
    assert not torch.equal(ema.module.running_mean, net.running_mean)
    assert int(ema.module.num_batches_tracked) == 3
    assert not any(weight.requires_grad for weight in ema.parameters())
