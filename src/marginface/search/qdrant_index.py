"""The Qdrant index: rows on a server of yours, for more of them than one machine holds.

The server proposes rows by its HNSW graph and sends them along, and they are scored again here.
Nothing is contacted unless a URL was given. Rows identify people, so they travel unencrypted on
this machine only: another host must be reached by https. The key comes from a file or from
QDRANT_API_KEY, never from a command line, and is kept in no file.

Differs: the client's mode on disk is not offered, since it reads its rows by pickle, which runs
    whatever it finds. Its mode in memory is there for trying things out.
"""

import importlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from marginface.errors import DataError, MissingExtraError, ServerError
from marginface.search.index import (
    Ids,
    Index,
    Nearest,
    Rows,
    digest_of,
    filled,
    rescored,
    sum_of_digests,
)

KEY = "QDRANT_API_KEY"
IN_MEMORY = ":memory:"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Rows of one request; a thousand of 512 numbers are 10 MB as JSON.
BATCH = 1000
PROBES = 64


class QdrantIndex(Index):
    """Rows in a collection of a Qdrant server, which is made if absent; they outlive the program.

    Args:
        dim: Length of a row.
        url: "http://127.0.0.1:6333", "https://host:6333", or ":memory:" for none.
        collection: Its name.
        key_file: A file that holds the key; otherwise QDRANT_API_KEY, if it is set.
        visited: Rows the server's graph keeps in view during a search (its hnsw_ef).
        timeout_s: How long one answer may take.

    Raises:
        DataError: If the collection is not one of such rows, or the key file cannot be read.
        MissingExtraError: If qdrant-client is not installed.
        ServerError: If the server does not answer.
        ValueError: If the URL would carry rows to another host unencrypted.
    """

    def __init__(
        self,
        dim: int,
        *,
        url: str,
        collection: str = "marginface",
        key_file: str | Path | None = None,
        visited: int = 256,
        timeout_s: int = 60,
    ) -> None:
        super().__init__(dim)
        self.collection, self.visited, self.url = collection, visited, _checked(url)
        self._package = _load_qdrant()
        if url == IN_MEMORY:
            self._client = self._package.QdrantClient(IN_MEMORY)
        else:
            with warnings.catch_warnings():
                # A key without https stays on this machine, see `_checked`.
                warnings.filterwarnings("ignore", "Api key is used with an insecure", UserWarning)
                # No proxy of the environment sees the rows, and no thread asks for the version.
                self._client = self._package.QdrantClient(
                    url=url,
                    api_key=_key(key_file),
                    timeout=timeout_s,
                    check_compatibility=False,
                    trust_env=False,
                )
        self._open()

    def __len__(self) -> int:
        with self._told():
            return int(self._client.count(self.collection, exact=True).count)

    def fingerprint(self) -> str:
        """Return what `fingerprint_of` says of the rows held, from the digests kept with them."""
        return sum_of_digests(self._digests())

    def close(self) -> None:
        """Close the connection; the rows stay on the server."""
        self._client.close()

    def _open(self) -> None:
        models = self._package.models
        with self._told():
            if not self._client.collection_exists(self.collection):
                size = models.VectorParams(size=self.dim, distance=models.Distance.DOT)
                self._client.create_collection(self.collection, vectors_config=size)
            held = self._client.get_collection(self.collection).config.params.vectors
        if getattr(held, "size", None) != self.dim or held.distance != models.Distance.DOT:
            raise DataError(
                f"collection {self.collection!r} must hold rows of {self.dim} numbers compared by "
                f"Dot, got {held}; give another name"
            )

    def _add(self, ids: Ids, rows: Rows) -> None:
        models = self._package.models
        for start in range(0, len(ids), BATCH):
            part, held = ids[start : start + BATCH], rows[start : start + BATCH]
            digests = [digest_of(int(number), row) for number, row in zip(part, held, strict=True)]
            batch = models.Batch(
                ids=part.tolist(),
                vectors=held.tolist(),
                payloads=[{"digest": each} for each in digests],
            )
            with self._told():
                self._client.upsert(self.collection, batch, wait=True)

    def _remove(self, ids: Ids) -> None:
        models = self._package.models
        numbers = ids.tolist()
        with self._told():
            found = self._client.retrieve(self.collection, numbers, with_payload=False)
            if lost := set(numbers) - {point.id for point in found}:
                raise ValueError(f"ids must be of rows held, got {min(lost)}")
            chosen = models.PointIdsList(points=numbers)
            self._client.delete(self.collection, chosen, wait=True)

    def _clear(self) -> None:
        for _ in self._digests():  # somebody else's points are not ours to delete
            pass
        with self._told():
            self._client.delete_collection(self.collection)
        self._open()

    def _digests(self) -> Iterator[str]:
        offset = None
        while True:
            with self._told():
                points, offset = self._client.scroll(
                    self.collection, limit=BATCH, offset=offset, with_vectors=False
                )
            for point in points:
                digest = (point.payload or {}).get("digest")
                if not isinstance(digest, str) or len(digest) != 64:
                    raise DataError(
                        f"collection {self.collection!r} holds point {point.id}, which marginface "
                        "did not write; give another name"
                    )
                yield digest
            if offset is None:
                return

    def _search(self, probes: Rows, k: int, exactly: bool) -> Nearest:
        found: list[tuple[Ids, Rows]] = []
        for start in range(0, len(probes), PROBES):
            found += self._found(probes[start : start + PROBES], k, k + 16, exactly)
        return filled(found, k)

    def _found(self, probes: Rows, k: int, count: int, exactly: bool) -> list[tuple[Ids, Rows]]:
        """Ask for `count` rows of each probe; for more where the last may tie with the k-th."""
        models = self._package.models
        params = None
        if self.url != IN_MEMORY:  # which compares all, and warns of parameters
            params = models.SearchParams(hnsw_ef=max(self.visited, count), exact=exactly)
        requests = [
            models.QueryRequest(query=probe.tolist(), limit=count, with_vector=True, params=params)
            for probe in probes
        ]
        with self._told():
            answers = self._client.query_batch_points(self.collection, requests)
        found = []
        for place, answer in enumerate(answers):
            ids = np.array([point.id for point in answer.points], np.int64)
            rows = np.array([point.vector for point in answer.points], np.float32)
            rows = rows.reshape(-1, self.dim)
            best = rescored(probes[place], ids, rows, count)
            if len(ids) == count and best[1][k - 1] - best[1][-1] < 1e-6:
                found += self._found(probes[place : place + 1], k, 4 * count, exactly)
            else:
                found.append((best[0][:k], best[1][:k]))
        return found

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what the client raises as an error about the server."""
        refused = importlib.import_module("qdrant_client.http.exceptions").ApiException
        try:
            yield
        except refused as cause:
            raise ServerError(
                f"the server at {self.url} did not do what it was asked ({str(cause)[:200]}); look "
                "whether it runs there, and whether the key is right"
            ) from cause


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query:
        raise ValueError(f"url must not hold a key; put it into a file, or into {KEY}")
    try:
        _ = parts.port
    except ValueError as cause:
        raise ValueError(f"url must have a port in [0, 65535], got {url!r}") from cause
    if url == IN_MEMORY or (parts.scheme == "https" and parts.hostname):
        pass
    elif parts.scheme != "http" or not parts.hostname:
        raise ValueError(
            f"url must be like http://127.0.0.1:6333 or https://host:6333, got {url!r}"
        )
    elif parts.hostname not in LOOPBACK:
        raise ValueError(
            f"url must be https where another machine is meant, got {url!r}; embeddings identify "
            "people and must not travel unencrypted"
        )
    return url


def _key(key_file: str | Path | None) -> str | None:
    if key_file is None:
        return os.environ.get(KEY) or None
    try:
        return Path(key_file).read_text().strip()
    except OSError as cause:
        raise DataError(f"the key file {key_file} could not be read ({cause.strerror})") from cause


def _load_qdrant() -> Any:
    try:
        return importlib.import_module("qdrant_client")
    except ModuleNotFoundError as cause:
        raise MissingExtraError(
            "the index 'qdrant' needs the package qdrant-client, which is not installed; get it "
            "with pip install 'marginface[qdrant]', or take the index 'faiss' or 'exact'"
        ) from cause
