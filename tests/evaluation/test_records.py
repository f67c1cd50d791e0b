import pytest

from marginface.evaluation import fnmr_name, is_lower_better


@pytest.mark.parametrize(
    ("target", "name"),
    [(0.1, "fnmr_at_fmr_0.1"), (1e-3, "fnmr_at_fmr_0.001"), (1e-6, "fnmr_at_fmr_0.000001")],
)
def test_targets_are_plain_decimals(target, name):
    assert fnmr_name(target) == name


def test_error_rates_are_better_when_lower():
    assert [
        name
        for name in ("accuracy", "auc", "d_prime", "eer", fnmr_name(0.1))
        if is_lower_better(name)
    ] == ["eer", "fnmr_at_fmr_0.1"]
