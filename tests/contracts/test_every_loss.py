"""What holds for every row of LOSSES, and so for a loss written tomorrow."""

import copy
import math
import pickle
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from marginface.heads import IdentityHead
from marginface.losses import LOSS_FACTS, LOSSES, Elastic, Loss, OwnClass, make_loss
from marginface.sphere import normalise
from tests.references.losses import TWINS

# Every option that changes the equation stands here once beside the defaults.
OPTIONS: list[tuple[str, dict]] = [
    ("softmax", {"scale": 16.0}),
    ("sphereface", {"multiplier": 3, "scale": 20.0, "annealing": 5.0}),
    ("cosface", {"margin_cosine": 0.2, "scale": 30.0}),
    ("arcface", {"margin_rad": 0.3, "boundary": "straight"}),
    ("arcface", {"scale": 10.0, "gradient": "straight-through"}),
    ("curricularface", {"margin_rad": 0.3, "momentum": 0.5, "boundary": "none"}),
    ("magface", {"lambda_g": 1.0, "upper_norm": 30.0, "boundary": "none"}),
    ("adaface", {"margin": 0.3, "h": 1.0, "momentum": 1.0}),
    ("sface", {"scale": 32.0, "slope": 20.0, "intra_rad": 0.9, "inter_rad": 1.3}),
    ("elasticface-arc", {"margin_rad": 0.4, "std_rad": 0.2, "boundary": "straight"}),
    ("elasticface-cos", {"margin_cosine": 0.2, "std_cosine": 0.1}),
    ("elasticface-arc-plus", {"std_rad": 0.2, "ordering": "released"}),
    ("elasticface-cos-plus", {"std_cosine": 0.1, "ordering": "released", "scale": 8.0}),
    ("lh2face", {"proxy_weights": [0.0, 0.0, 0.0], "margin_ratio": 0.2}),
    ("lh2face", {"detach_mean": False, "proxy_weights": [0.5, 2.0, 0.0], "vmf_weight": 0.5}),
    ("lh2face", {"mean_norm": "ema", "momentum": 0.5, "norm_range": [0.5, 60.0]}),
    ("lh2face", {"proxy_similarity": "cosine", "proxy_scale": 8.0, "proxy_offset": 0.3}),
    ("lh2face", {"proxy_family": "angular", "proxy_weights": [1.0, 2.0, 3.0]}),
    ("lh2face", {"proxy_family": "likelihood"}),
    ("lh2face", {"proxy_family": "likelihood", "detach_norm": True, "vmf_weight": 0.0}),
]
CASES = [(name, {}) for name in LOSSES] + OPTIONS
every_case = pytest.mark.parametrize(
    ("name", "options"), CASES, ids=[f"{n}-{'-'.join(o) or 'default'}" for n, o in CASES]
)
# Its scale is the length of each row, so there is no option of that name.
NO_SCALE = {"lh2face"}
every_loss = pytest.mark.parametrize("name", list(LOSSES))

BATCH, CLASSES, DIM = 7, 5, 4


def problem(dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features of lengths 5 to 120, prototypes, labels; cosines on both sides of everything."""
    generator = torch.Generator().manual_seed(seed)
    directions = normalise(torch.randn(BATCH, DIM, generator=generator, dtype=torch.float64))
    features = directions * torch.linspace(5, 120, BATCH, dtype=torch.float64)[:, None]
    prototypes = torch.randn(CLASSES, DIM, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    # One row nearly opposite to its class, past every turn; one near it.
    features[1] = -prototypes[labels[1]] * 20 + 0.5 * features[1] / features[1].norm()
    features[2] = prototypes[labels[2]] * 20 + 2 * features[2] / features[2].norm()
    return features.to(dtype), prototypes.to(dtype), labels


def head_for(loss: Loss, prototypes: Tensor, chunk: int | None = None) -> IdentityHead:
    head = IdentityHead(len(prototypes), prototypes.shape[1], loss, chunk=chunk)
    head.to(prototypes.dtype)
    with torch.no_grad():
        head.prototypes.copy_(prototypes)
    return head


def run(
    head: IdentityHead, features: Tensor, labels: Tensor, *, is_autocast: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Value and both gradients, the margins drawn from one seed."""
    leaf = features.clone().requires_grad_()
    torch.manual_seed(11)
    with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        value = head(leaf, labels)
    to_features, to_prototypes = torch.autograd.grad(value, [leaf, head.prototypes])
    return value.detach(), to_features, to_prototypes


def draws_of(loss: Loss) -> dict[str, list[float]]:
    """The margins that `run` will see, for the twin."""
    if not isinstance(loss, Elastic):
        return {}
    torch.manual_seed(11)
    return {"draws": loss.sample_margins(BATCH).tolist()}


def calm(loss: Loss) -> Loss:
    """The same loss with nothing drawn, for laws about rows that change places."""
    if isinstance(loss, Elastic):
        setattr(loss, "std_rad" if hasattr(loss, "std_rad") else "std_cosine", 0.0)
    return loss


def assert_same(one: tuple[Tensor, ...], other: tuple[Tensor, ...], tolerance: float) -> None:
    for a, b in zip(one, other, strict=True):
        size = float(b.abs().max())
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * max(size, 1e-30))


@every_loss
def test_has_a_twin_and_facts(name: str) -> None:
    assert name in TWINS
    facts = LOSS_FACTS[name]
    assert facts.paper
    assert facts.formula
    assert facts.arxiv.count(".") == 1
    assert set(facts.defaults) <= set(vars(make_loss(name)))
    for option, default in facts.defaults.items():
        if default is not None:
            assert getattr(make_loss(name), option) == default


@every_case
@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_its_slow_twin(name: str, options: dict, chunk: int | None, seed: int) -> None:
    features, prototypes, labels = problem(seed=seed)
    loss = make_loss(name, **options)
    x, w = features.clone().requires_grad_(), prototypes.clone().requires_grad_()
    expected = TWINS[name](x, w, labels.tolist(), **options, **draws_of(loss))
    gradients = torch.autograd.grad(expected, [x, w])
    actual = run(head_for(loss, prototypes, chunk), features, labels)
    assert_same(actual, (expected.detach(), *gradients), 1e-9)


@every_case
@pytest.mark.parametrize("chunk", [None, 3])
def test_gradcheck(name: str, options: dict, chunk: int | None) -> None:
    if name == "sface" or options.get("gradient") == "straight-through":
        pytest.skip("its gradient is not the slope of its value, by definition; the twin holds it")
    features, prototypes, labels = problem(seed=3)
    head = head_for(calm(make_loss(name, **options)).eval(), prototypes, chunk)

    norms = features.norm(dim=1, keepdim=True)
    if name == "lh2face":
        if not options.get("detach_mean", True):
            pytest.skip(
                "the mean is a variable in one place and a constant in the others; see its own test"
            )
        # For its gradient the mean length is a constant, by definition. At rest this one is.
        head.loss.mean_norm = "ema"

    def value(x: Tensor, w: Tensor) -> Tensor:
        if name == "adaface" or options.get(
            "detach_norm"
        ):  # for its gradient the length is a constant, by definition
            x = normalise(x) * norms
        return torch.func.functional_call(head, {"prototypes": w}, (x, labels))

    if name == "curricularface":
        head.loss.hardness.fill_(0.3)
    # A kink is where an own or other cosine meets a threshold: none lies within 1e-6 here.
    inputs = (features.requires_grad_(), prototypes.requires_grad_())
    assert torch.autograd.gradcheck(value, inputs, eps=1e-6, atol=1e-4, fast_mode=True)


@every_case
@given(
    chunk=st.sampled_from([1, 2, 7, 12, 13, 100]),
    batch=st.integers(1, 9),
    seed=st.integers(0, 10_000),
)
@example(chunk=7, batch=3, seed=0)  # few rows: products wait in the gradient's memory
@example(chunk=7, batch=9, seed=0)  # more than dimensions: they are computed again
@settings(max_examples=6, deadline=None)
def test_chunked_equals_dense(name: str, options: dict, chunk: int, batch: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, 6, generator=generator, dtype=torch.float64) * 15
    prototypes = torch.randn(13, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(-1, 13, (batch,), generator=generator)
    labels[0] = 12
    dense = run(head_for(make_loss(name, **options), prototypes), features, labels)
    streamed = run(head_for(make_loss(name, **options), prototypes, chunk), features, labels)
    assert_same(streamed, dense, 1e-11)


@every_case
def test_others_are_elementwise_and_leave_the_cosines_alone(name: str, options: dict) -> None:
    """A streaming head hands out one buffer, and scales it itself if told by how much."""
    loss = make_loss(name, **options).eval()
    generator = torch.Generator().manual_seed(1)
    cosines = torch.rand(4, 6, generator=generator, dtype=torch.float64) * 2 - 1
    norms = torch.linspace(5, 40, 4, dtype=torch.float64)
    own = OwnClass(cosines[:, 0].clone(), norms, dim=8)
    own = replace(own, state=loss.observe(own.cosine, norms))
    own = replace(own, prepared=loss.prepare(own))
    before = cosines.clone()
    leaf = cosines.requires_grad_()
    terms = loss.others(leaf, own)
    assert torch.equal(cosines, before)
    assert terms.data_ptr() != cosines.data_ptr()
    torch.testing.assert_close(loss.others(leaf[:, 2:4], own), terms[:, 2:4])
    if loss.scale_of_others is not None:
        torch.testing.assert_close(terms, loss.scale_of_others * leaf)


ZERO_MARGIN = {
    "sphereface": {"multiplier": 1, "scale": 64.0},
    "cosface": {"margin_cosine": 0.0},
    "arcface": {"margin_rad": 0.0},
    "magface": {"lower_margin_rad": 0.0, "upper_margin_rad": 0.0, "lambda_g": 0.0},
    "adaface": {"margin": 0.0},
    "elasticface-arc": {"margin_rad": 0.0, "std_rad": 0.0},
    "elasticface-cos": {"margin_cosine": 0.0, "std_cosine": 0.0},
    "elasticface-arc-plus": {"margin_rad": 0.0, "std_rad": 0.0},
    "elasticface-cos-plus": {"margin_cosine": 0.0, "std_cosine": 0.0},
}
# No margin to set to zero: softmax itself, SFace; CurricularFace still weighs hard others;
# LH2Face scales each row by its own length (with equal lengths it is CosFace, tested there).
NO_ZERO = {"softmax", "sface", "curricularface", "lh2face"}


@every_loss
def test_margin_zero_is_plain_softmax(name: str) -> None:
    assert (name in ZERO_MARGIN) != (name in NO_ZERO), "say what margin zero means for it"
    if name in NO_ZERO:
        return
    features, prototypes, labels = problem()
    keep = torch.tensor([0, 3, 4, 5, 6])  # AdaFace clips the two rows nearest to ±1
    features, labels = features[keep], labels[keep]
    plain = run(head_for(make_loss("softmax"), prototypes), features, labels)
    ours = run(head_for(make_loss(name, **ZERO_MARGIN[name]), prototypes), features, labels)
    assert_same(ours, plain, 1e-10)


@every_case
def test_permuting_rows_and_classes_permutes_gradients(name: str, options: dict) -> None:
    features, prototypes, labels = problem()
    if options.get("ordering") == "released":
        pytest.skip("the released ordering depends on the order of the rows; pinned elsewhere")
    value, to_features, to_prototypes = run(
        head_for(calm(make_loss(name, **options)), prototypes), features, labels
    )
    rows, classes = torch.randperm(BATCH), torch.randperm(CLASSES)
    new_place = torch.argsort(classes)
    moved = run(
        head_for(calm(make_loss(name, **options)), prototypes[classes]),
        features[rows],
        new_place[labels[rows]],
    )
    assert_same(moved, (value, to_features[rows], to_prototypes[classes]), 1e-10)


@every_case
def test_rotation_changes_nothing(name: str, options: dict) -> None:
    features, prototypes, labels = problem()
    rotation, _ = torch.linalg.qr(torch.randn(DIM, DIM, dtype=torch.float64))
    value, to_features, to_prototypes = run(
        head_for(make_loss(name, **options), prototypes), features, labels
    )
    turned = run(
        head_for(make_loss(name, **options), prototypes @ rotation), features @ rotation, labels
    )
    assert_same(turned, (value, to_features @ rotation, to_prototypes @ rotation), 1e-8)


@every_case
@pytest.mark.parametrize("chunk", [None, 2])
def test_inputs_stay_unchanged(name: str, options: dict, chunk: int | None) -> None:
    features, prototypes, labels = problem()
    labels[0] = -1
    before = features.clone(), labels.clone()
    head = head_for(make_loss(name, **options), prototypes, chunk)
    run(head, features, labels)
    torch.testing.assert_close((features, labels), before, rtol=0, atol=0)
    torch.testing.assert_close(head.prototypes.detach(), prototypes, rtol=0, atol=0)


@every_case
@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_finite_at_and_beyond_one(
    name: str, options: dict, chunk: int | None, dtype: torch.dtype
) -> None:
    prototypes = torch.randn(6, 512)
    # Own cosine +1 and -1, others +1 and -1, to rounding and so just beyond in many of the rows.
    prototypes[5] = -prototypes[0]
    prototypes[4] = prototypes[0] * 3
    labels = torch.arange(64) % 6
    features = prototypes[labels] * torch.linspace(0.01, 3, 64)[:, None]
    features[1::2] *= -1
    features[7] = 0
    head = head_for(make_loss(name, **options), prototypes, chunk)
    leaf = features.to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        value = head(leaf, labels)
    value.backward()
    assert value.dtype == torch.float32
    for tensor in (value, leaf.grad, head.prototypes.grad):
        assert tensor.isfinite().all()


@every_case
@pytest.mark.parametrize("cosine", [1.0, -1.0, 1.0000002, -1.0000002, 0.0])
def test_equation_is_finite_beyond_one(name: str, options: dict, cosine: float) -> None:
    loss = make_loss(name, **options)
    own = torch.full((3,), cosine).requires_grad_()
    cosines = torch.tensor([[cosine, -cosine, 0.3]] * 3).requires_grad_()
    rows = OwnClass(own, torch.full((3,), 20.0), loss.observe(own, torch.full((3,), 20.0)))
    target, others = loss.target(rows), loss.others(cosines, rows)
    gradients = torch.autograd.grad(target.sum() + others.sum(), [own, cosines])
    for tensor in (target, others, *gradients):
        assert tensor.isfinite().all()


@every_case
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_budget(name: str, options: dict, dtype: torch.dtype) -> None:
    """Half features cost their own rounding and nothing more: head arithmetic is float32.

    The error of the value is at most that of the naive formula in half, plus 2e-5 of the value.
    """
    features, prototypes, labels = problem()
    rounded, prototypes = features.to(dtype), prototypes.float()
    loss = make_loss(name, **options)
    exact = run(head_for(loss, prototypes.double()), rounded.double(), labels)
    ours = run(head_for(make_loss(name, **options), prototypes), rounded, labels, is_autocast=True)
    extra = draws_of(loss)
    naive = TWINS[name](rounded, prototypes.to(dtype), labels.tolist(), **options, **extra)
    naive_error = float((naive.double() - exact[0]).abs().nan_to_num(math.inf))
    assert float((ours[0] - exact[0]).abs()) <= naive_error + 2e-5 * float(exact[0].abs())
    torch.testing.assert_close(ours[0].double(), exact[0], rtol=2e-5, atol=2e-5)
    for half, full, unit in ((ours[1], exact[1], 1e-2), (ours[2], exact[2], 5e-4)):
        error = (half.double() - full).norm() / full.norm()
        assert error < unit  # the features' gradient is rounded to half on its way out


@every_loss
def test_statistics_are_saved_and_restored(name: str) -> None:
    features, prototypes, labels = problem()
    head = head_for(make_loss(name), prototypes)
    for _ in range(3):
        run(head, features, labels)
    restored = head_for(make_loss(name), prototypes * 2)
    restored.load_state_dict(head.state_dict())
    assert_same(run(restored, features, labels), run(head, features, labels), 1e-15)


@every_loss
def test_statistics_rest_in_evaluation_mode(name: str) -> None:
    features, prototypes, labels = problem()
    head = head_for(make_loss(name), prototypes).eval()
    before = copy.deepcopy(head.loss.state_dict())
    run(head, features, labels)
    head.train().logits(features, labels)
    assert head.loss.state_dict() == before


@every_loss
@pytest.mark.parametrize("chunk", [None, 2])
def test_two_batches_before_one_backward(name: str, chunk: int | None) -> None:
    """Statistics that move between forward and backward must not reach into the earlier batch."""
    features, prototypes, labels = problem()
    apart = head_for(make_loss(name), prototypes, chunk)
    torch.manual_seed(0)
    expected = []
    for part in (features[:4], features[4:]):
        value = apart(part, labels[: len(part)])
        expected.append(torch.autograd.grad(value, apart.prototypes)[0])
    together = head_for(make_loss(name), prototypes, chunk)
    torch.manual_seed(0)
    values = [together(part, labels[: len(part)]) for part in (features[:4], features[4:])]
    (actual,) = torch.autograd.grad(sum(values), together.prototypes)
    assert_same((actual,), (sum(expected),), 1e-12)


@every_loss
def test_pickles(name: str) -> None:
    features, prototypes, labels = problem()
    head = head_for(make_loss(name), prototypes)
    twin = pickle.loads(pickle.dumps(head))
    assert_same(run(twin, features, labels), run(head, features, labels), 1e-15)


@every_loss
def test_runs_bitwise_alike(name: str) -> None:
    features, prototypes, labels = problem(torch.float32)
    for chunk in (None, 2):
        one = run(head_for(make_loss(name), prototypes, chunk), features, labels)
        two = run(head_for(make_loss(name), prototypes, chunk), features, labels)
        assert_same(one, two, 0)


# Up to which angle the own class's term falls; the loss's file says why not further.
FALLS_UNTIL = {
    "arcface": math.pi - 0.5,
    "elasticface-arc": math.pi - 0.5,
    "elasticface-arc-plus": math.pi - 0.5,
    "magface": math.pi / 2,
    "sface": None,
}


@every_loss
def test_target_falls_with_the_angle(name: str) -> None:
    until = FALLS_UNTIL.get(name, math.pi)
    if until is None:
        return
    angles = torch.linspace(0, until - 1e-3, 500, dtype=torch.float64)
    own = OwnClass(torch.cos(angles), torch.full_like(angles, 30.0))
    steps = make_loss(name).own_curve(own).diff()
    assert (steps <= 1e-12).all()
    assert steps.sum() < -0.1


@every_loss
def test_scale_multiplies_the_logits(name: str) -> None:
    assert (name in NO_SCALE) != ("scale" in LOSS_FACTS[name].defaults)
    if name in NO_SCALE:
        return
    features, prototypes, labels = problem()
    one = head_for(calm(make_loss(name, scale=1.0)), prototypes).logits(features, labels)
    four = head_for(calm(make_loss(name, scale=4.0)), prototypes).logits(features, labels)
    torch.testing.assert_close(four, 4 * one)
    assert one.shape == (BATCH, CLASSES)
