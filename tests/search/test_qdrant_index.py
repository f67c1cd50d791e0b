"""What is Qdrant's own; in the client's memory, and where no server is. Nothing is contacted."""

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from marginface.errors import DataError, MissingExtraError, ServerError
from marginface.search import QdrantIndex, fingerprint_of
from tests.search.indices import units
from tests.search.test_faiss_index import blocked


def sharing(client: Any, name: str = "marginface", dim: int = 16) -> QdrantIndex:
    """Return a second program's view of the same collections."""
    index = QdrantIndex(dim, url=":memory:", collection=name)
    index._client = client
    index._open()
    return index


def test_rows_outlive_the_program() -> None:
    first, rows = QdrantIndex(16, url=":memory:"), units(2500)
    first.add(np.arange(2500), rows)
    second = sharing(first._client)
    assert len(second) == 2500
    assert second.fingerprint() == fingerprint_of(range(2500), rows)
    assert second.search(rows[7:8], 1).ids.tolist() == [[7]]
    second.remove(range(0, 2500, 2))
    assert len(first) == 1250
    assert len(sharing(first._client, "other")) == 0


def test_refuses_collections_of_something_else() -> None:
    index = QdrantIndex(16, url=":memory:")
    with pytest.raises(DataError, match="must hold rows of 8 numbers compared by Dot, got size=16"):
        sharing(index._client, dim=8)
    euclid = models.VectorParams(size=16, distance=models.Distance.EUCLID)
    index._client.create_collection("far", vectors_config=euclid)
    with pytest.raises(DataError, match="compared by Dot"):
        sharing(index._client, "far")
    index._client.create_collection("named", vectors_config={"face": euclid})
    with pytest.raises(DataError, match="compared by Dot"):
        sharing(index._client, "named")
    batch = models.Batch(ids=[3], vectors=[[0.0] * 16], payloads=[{}])
    index._client.upsert("marginface", batch)
    for use in (index.fingerprint, index.clear):
        with pytest.raises(DataError, match="point 3, which marginface did not write"):
            use()
    assert len(index) == 1


def test_tells_that_no_server_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        told = f"server at {url} did not do what it was asked"
        with pytest.raises(ServerError, match=told):
            QdrantIndex(16, url=url)
        # The client warns of a key that goes unencrypted, which here it may.
        monkeypatch.setenv("QDRANT_API_KEY", "made")
        with pytest.raises(ServerError, match=told):
            QdrantIndex(16, url=url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://example.org:6333", "must be https where another machine is meant"),
        ("http://10.0.0.7:6333", "must not travel unencrypted"),
        ("http://127.0.0.1.example.org", "must be https"),
        ("localhost:6333", "must be like http://127.0.0.1:6333"),
        ("", "must be like"),
        ("ftp://localhost", "must be like"),
        ("folder/of/rows", "must be like"),
        ("https://:secret@example.org", "must not hold a key"),
        ("http://secret@example.org", "must not hold a key"),
        ("https://example.org/?api-key=secret", "must not hold a key"),
        (
            "http://127.0.0.1:99999",
            r"must have a port in \[0, 65535\], got 'http://127.0.0.1:99999'",
        ),
    ],
)
def test_refuses_urls(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as told:
        QdrantIndex(16, url=url)
    assert "secret" not in str(told.value)


def test_where_the_key_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    class Client:
        def __init__(self, **options: Any) -> None:
            seen.append(options)

    monkeypatch.setattr("qdrant_client.QdrantClient", Client)
    monkeypatch.setattr(QdrantIndex, "_open", lambda self: None)
    url = "https://host:6333"
    monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    QdrantIndex(4, url=url)
    monkeypatch.setenv("QDRANT_API_KEY", "from the environment")
    QdrantIndex(4, url=url)
    (tmp_path / "key").write_text("from the file\n")
    index = QdrantIndex(4, url=url, key_file=tmp_path / "key")
    keys = [options["api_key"] for options in seen]
    assert keys == [None, "from the environment", "from the file"]
    assert not any(options["trust_env"] or options["check_compatibility"] for options in seen)
    assert "from the file" not in repr(vars(index))
    with pytest.raises(DataError, match="no such could not be read"):
        QdrantIndex(4, url=url, key_file="no such")


def test_a_server_is_asked_for_exactness() -> None:
    """The memory compares all anyway; what a server would be told."""
    asked: list[Any] = []
    index = QdrantIndex(16, url=":memory:")
    index.add(np.arange(40), units(40))
    real = index._client.query_batch_points

    def query(name: str, requests: list[Any]) -> Any:
        asked.extend(request.params for request in requests)
        return real(name, [each.model_copy(update={"params": None}) for each in requests])

    index._client.query_batch_points = query
    index.url = "http://127.0.0.1:6333"
    index.search(units(1), 2)
    index.search(units(1), 2, exactly=True)
    assert [(each.exact, each.hnsw_ef) for each in asked] == [(False, 256), (True, 256)]


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    blocked(monkeypatch, "qdrant_client")
    with pytest.raises(MissingExtraError, match=r"pip install 'marginface\[qdrant\]'"):
        QdrantIndex(4, url=":memory:")
