"""The nearest rows, against sorting all scores in float64, with ties and near ties."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface.search import PRODUCTS, exact, search_topk


def by_sorting(probes, gallery, k):
    scores = (probes.double() @ gallery.double().T).float()
    rows = scores.argsort(dim=1, descending=True, stable=True)[:, :k]
    return scores.gather(1, rows), rows


def unit(*shape, seed=0):
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


@pytest.mark.parametrize("products", PRODUCTS)
@pytest.mark.parametrize("k", [1, 7, 100])
@pytest.mark.parametrize("size", [90, 1000])
def test_equals_sorting(products, k, size, monkeypatch):
    monkeypatch.setattr(exact, "BLOCK", 256)
    monkeypatch.setattr(exact, "CANDIDATES", 3000)
    monkeypatch.setattr(exact, "RESCORED", 100)
    probes, gallery = unit(40, 24), unit(size, 24, seed=1)
    found = search_topk(probes, gallery, k, products=products)
    scores, rows = by_sorting(probes, gallery, k)
    places = min(k, size)
    assert torch.equal(found.rows[:, :places], rows)
    # Matrices and rows add in different orders, in float64.
    torch.testing.assert_close(found.scores[:, :places], scores, rtol=0, atol=6e-8)
    assert (found.rows[:, places:] == -1).all()
    assert (found.scores[:, places:] == -torch.inf).all()


@pytest.mark.parametrize("products", PRODUCTS)
@pytest.mark.parametrize("dim", [1, 13])
def test_memory_written_anew_holds_nothing_of_the_block_before(products, dim, monkeypatch):
    # Rows of odd length are padded, and the last block is smaller than the others.
    monkeypatch.setattr(exact, "BLOCK", 64)
    probes, gallery = unit(9, dim) * 3, torch.cat([unit(128, dim, seed=5) * 4, unit(50, dim)])
    found = search_topk(probes, gallery, 4, products=products)
    scores, rows = by_sorting(probes, gallery, 4)
    torch.testing.assert_close(found.scores, scores, rtol=1e-6, atol=0)
    assert torch.equal(found.rows, rows)


@pytest.mark.parametrize("products", PRODUCTS)
def test_near_ties_are_decided_exactly(products, monkeypatch):
    # A thousand rows around one: coarse products cannot tell them apart.
    monkeypatch.setattr(exact, "BLOCK", 128)
    centre = unit(1, 32)
    gallery = torch.nn.functional.normalize(centre + 1e-4 * unit(1000, 32, seed=2), dim=1)
    probes = torch.nn.functional.normalize(centre + 0.2 * unit(15, 32, seed=3), dim=1)
    found = search_topk(probes, gallery, 5, products=products)
    assert torch.equal(found.rows, by_sorting(probes, gallery, 5)[1])


@pytest.mark.parametrize("products", PRODUCTS)
def test_coarse_products_alone_would_be_wrong(products):
    # Otherwise the test above would show nothing.
    if products == "float32":
        return
    centre = unit(1, 32)
    gallery = torch.nn.functional.normalize(centre + 1e-4 * unit(1000, 32, seed=2), dim=1)
    probes = torch.nn.functional.normalize(centre + 0.2 * unit(15, 32, seed=3), dim=1)
    multiply = {"bfloat16": exact._BFloat16, "int8": exact._Int8}[products](probes)
    coarse = multiply(gallery, float(gallery.norm(dim=1).max()))
    assert not torch.equal(coarse.values.argmax(1), by_sorting(probes, gallery, 1)[1][:, 0])
    error = (coarse.values * coarse.unit - probes @ gallery.T).abs()
    assert (error <= coarse.error).all()


@settings(max_examples=30)
@given(
    st.sampled_from(PRODUCTS),
    st.integers(1, 40),
    st.integers(1, 9),
    st.lists(st.sampled_from([-3.0, -1.0, 0.0, 0.5, 2.0]), min_size=3, max_size=120),
)
def test_equal_scores_keep_the_order_of_rows(products, k, dim, numbers):
    # Small dyadic numbers: their products are exact in any order, and ties abound.
    numbers = numbers[: len(numbers) // dim * dim] or numbers[:1] * dim
    gallery = torch.tensor(numbers).view(-1, dim)
    probes = gallery[:3] * 2
    found = search_topk(probes, gallery, k, products=products)
    scores, rows = by_sorting(probes, gallery, k)
    places = rows.shape[1]
    assert torch.equal(found.rows[:, :places], rows)
    assert torch.equal(found.scores[:, :places], scores)


@pytest.mark.parametrize("products", PRODUCTS)
def test_rows_of_very_different_lengths(products, monkeypatch):
    monkeypatch.setattr(exact, "BLOCK", 64)
    gallery = unit(300, 16, seed=4) * torch.logspace(-6, 3, 300)[:, None]
    gallery[17] = 0
    probes = torch.cat([unit(9, 16), torch.zeros(1, 16)])
    for longest in (None, float(gallery.norm(dim=1).max())):
        found = search_topk(probes, gallery, 3, products=products, longest=longest)
        assert torch.equal(found.rows, by_sorting(probes, gallery, 3)[1])


def test_the_proof_needs_no_less_than_the_longest_row():
    # Scores that are equal in float32 but for rounding: with a bound of 0 the wrong one would win.
    gallery = torch.nn.functional.normalize(unit(1, 512) + 1e-6 * unit(400, 512, seed=2), dim=1)
    probes = unit(40, 512, seed=3)
    best = by_sorting(probes, gallery, 1)[1]
    assert torch.equal(search_topk(probes, gallery, 1, longest=1.001).rows, best)
    assert not torch.equal(search_topk(probes, gallery, 1, longest=0.0).rows, best)


def test_an_empty_gallery():
    found = search_topk(unit(2, 4), torch.empty(0, 4), 2)
    assert found.rows.tolist() == [[-1, -1]] * 2


@pytest.mark.parametrize("products", PRODUCTS)
def test_no_probes(products):
    assert search_topk(torch.empty(0, 4), unit(3, 4), 2, products=products).rows.shape == (0, 2)


def test_bad_input():
    rows = unit(2, 4)
    with pytest.raises(ValueError, match=r"products must be one of .* did you mean 'float32'"):
        search_topk(rows, rows, 1, products="float23")
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        search_topk(rows, rows, 0)
    with pytest.raises(ValueError, match=r"float32, got torch.float64"):
        search_topk(rows.double(), rows, 1)
    for products in PRODUCTS:
        with pytest.raises(ValueError, match="probes must be finite"):
            search_topk(rows * torch.nan, rows, 1, products=products)
        with pytest.raises(ValueError, match="gallery must be finite"):
            search_topk(rows, rows * torch.nan, 1, products=products)
