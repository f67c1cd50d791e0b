"""People enrolled once and found again; kept in one file that holds no code and no pictures.

    template of a person = sum of the embeddings of their pictures, divided by its length
    candidates of a probe = the k people with the highest template · probe

Where they are searched is an index: exact, unless another is given. An index is derived, and the
gallery's file the source of truth: an index made of other templates is refused, and can be built
anew. Equal scores stand in the order of enrolment.

Embeddings of two networks mean nothing to each other, and nobody would notice: every score is just
low. So a gallery keeps what its model says of four made pictures, and refuses a model that says
something else. That is asked of the model and not of its file, so a network goes on with its
gallery after it was exported, renamed or moved to another device.

False matches add up: a threshold of one pair's FMR f lets a stranger through at one of n people
with a probability of up to n f.
"""

import threading
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marginface.errors import ModelFileError
from marginface.recognition.gallery_file import StoredGallery, read_gallery, write_gallery
from marginface.recognition.people import Candidate, People, Rows, check_name, template_of
from marginface.recognition.recognizer import Recognizer
from marginface.search import ExactIndex, Index

# The same network in another engine or precision agrees to 1e-5; after a few hundred further steps
# of training it does not.
SAME_MODEL = 0.999
# One picture, embedded in another batch, differs by rounding.
SAME_PICTURE = 1 - 1e-5


class Gallery:
    """Templates of people by name; `of` starts one, `load` reads one. Threads may share it.

    Example:
        >>> import numpy as np
        >>> gallery = Gallery(model="mine", cards=np.eye(4, 8, dtype=np.float32))
        >>> gallery.add("anna", np.eye(1, 8, dtype=np.float32))
        1
        >>> gallery.search(np.eye(1, 8, dtype=np.float32)[0], threshold=0.5)
        [Candidate(name='anna', score=1.0)]

    Args:
        model: What reports call the model.
        cards: What it says of `made_pictures`, shape (4, dim); see `of`.
        index: Where templates are searched, empty or of these people; exact if None.
    """

    def __init__(self, *, model: str, cards: Rows, index: Index | None = None) -> None:
        self.model = model
        self._cards = cards
        self._people = People(len(cards[0]))
        self._lock = threading.Lock()
        if index is not None:
            self.search_in(index)

    @classmethod
    def of(cls, recognizer: Recognizer, *, index: Index | None = None) -> "Gallery":
        """Return an empty gallery for the embeddings of a recogniser."""
        cards = recognizer.embed_aligned(made_pictures())
        return cls(model=recognizer.name, cards=cards, index=index)

    @classmethod
    def load(cls, path: str | Path, *, index: Index | None = None) -> "Gallery":
        """Read a gallery back.

        Raises:
            DataError: If the file is absent, cut off, altered or another kind of file.
            IndexMismatchError: If the index holds other templates.
        """
        stored = read_gallery(Path(path))
        gallery = cls(model=stored.model, cards=stored.cards)
        bounds = np.cumsum(stored.counts)[:-1]
        rows = np.split(stored.embeddings, bounds) if stored.names else []
        gallery._people.restore(stored.names, stored.numbers, rows)
        if index is not None:
            gallery.search_in(index)
        return gallery

    def search_in(self, index: Index) -> None:
        """Search in this index from now on; an empty one is filled.

        Raises:
            IndexMismatchError: If it holds other templates than this gallery.
            ValueError: If its rows are of another length.
        """
        with self._lock:
            self._people.search_in(index)

    def save(self, path: str | Path) -> None:
        """Write the gallery in one step; a new file may be read by its owner only.

        Raises:
            CheckpointWriteError: If the disk refuses; the old file is then untouched.
        """
        with self._lock:
            rows = list(self._people.rows.values()) or [np.empty((0, self.dim), np.float32)]
            stored = StoredGallery(
                model=self.model,
                cards=self._cards,
                names=list(self._people.rows),
                numbers=list(self._people.numbers.values()),
                counts=[len(each) for each in self._people.rows.values()],
                embeddings=np.concatenate(rows),
            )
            write_gallery(Path(path), stored)

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self._cards.shape[1]

    @property
    def names(self) -> list[str]:
        """The people, in the order they were enrolled."""
        return list(self._people.rows)

    def pictures_of(self, name: str) -> int:
        """Return how many pictures a person's template is made of.

        Raises:
            ValueError: If nobody is called so.
        """
        return len(self._people.rows[self._known(name)])

    def __len__(self) -> int:
        return len(self._people.rows)

    def __contains__(self, name: object) -> bool:
        return name in self._people.rows

    def __repr__(self) -> str:
        return f"Gallery({len(self):,} people, embeddings of {self.model}, dim {self.dim})"

    def check(self, recognizer: Recognizer) -> None:
        """Raise unless a recogniser's embeddings are those this gallery holds.

        Raises:
            ModelFileError: If they are another network's, or made under another contract.
        """
        wanted = f"the gallery holds embeddings of {self.model}, dim {self.dim}"
        if recognizer.contract.dim != self.dim:
            raise ModelFileError(
                f"{wanted}; {recognizer.name} has dim {recognizer.contract.dim}; give the model "
                "it was made with, or enrol everybody anew"
            )
        cosine = (self._cards * recognizer.embed_aligned(made_pictures())).sum(axis=1).min()
        if cosine < SAME_MODEL:
            raise ModelFileError(
                f"{wanted}; {recognizer.name} embeds the same picture elsewhere (cosine "
                f"{cosine:.3f}); give the model it was made with, or enrol everybody anew"
            )

    def add(self, name: str, embeddings: Rows) -> int:
        """Enrol a person, or give one further pictures; return how many of them were new.

        A picture that the person has already, to a cosine of 1e-5 below 1, is not counted twice.

        Args:
            name: Any text but nothing; see `check_name`.
            embeddings: Unit embeddings of one picture or several, shape (dim,) or (n, dim).

        Raises:
            ValueError: If the name is empty or no text, or the rows are not unit embeddings of this
                length.
        """
        check_name(name)
        fresh = self._checked(embeddings, "embeddings")
        with self._lock:
            kept = [*self._people.rows.get(name, ())]
            before = len(kept)
            for row in fresh:
                if all(float(row @ other) < SAME_PICTURE for other in kept):
                    kept.append(row)
            if len(kept) > before:
                self._people.put(name, np.stack(kept))
            return len(kept) - before

    def remove(self, name: str) -> None:
        """Forget a person; files saved before still hold them.

        Raises:
            ValueError: If nobody is called so.
        """
        with self._lock:
            self._people.drop(self._known(name))

    def search(self, probe: Rows, *, k: int = 1, threshold: float | None = None) -> list[Candidate]:
        """Return the people most like a face, best first; nobody where none reaches a threshold.

        Args:
            probe: Its unit embedding, shape (dim,).
            k: How many at most.
            threshold: Leave out who scores below; None for no threshold.

        Raises:
            ValueError: If the probe is no unit embedding of this length, or `k` below 1.
        """
        return self.search_many(probe[np.newaxis], k=k, threshold=threshold)[0]

    def search_many(
        self, probes: Rows, *, k: int = 1, threshold: float | None = None
    ) -> list[list[Candidate]]:
        """Return for each of many faces, shape (n, dim), what `search` does, reading all once.

        Raises:
            ValueError: If a probe is no unit embedding of this length, or `k` below 1.
        """
        rows = self._checked(probes, "probes")
        with self._lock:
            index = self._people.index
            if index is None:
                index = ExactIndex(self.dim)
                self._people.search_in(index)
        return self._people.nearest(index, rows, k, -np.inf if threshold is None else threshold)

    def template_of(self, name: str) -> Rows:
        """Return a person's template, shape (dim,).

        Raises:
            ValueError: If nobody is called so.
        """
        return template_of(self._people.rows[self._known(name)])

    def _checked(self, rows: Rows, called: str) -> Rows:
        held = np.array(rows, np.float32, ndmin=2)
        if held.ndim != 2 or held.shape[1] != self.dim:
            raise ValueError(f"{called} must have shape (n, {self.dim}), got {rows.shape}")
        lengths = np.linalg.norm(held, axis=1)
        if not (np.abs(lengths - 1) < 1e-3).all():
            wrong = int(np.argmax(~(np.abs(lengths - 1) < 1e-3)))
            raise ValueError(
                f"{called} must have length 1, row {wrong} has {lengths[wrong]:.3g}; "
                "Recognizer.embed gives unit rows, and a failed picture of embed_source is zero"
            )
        return held

    def _known(self, name: str) -> str:
        if name not in self._people.rows:
            near = get_close_matches(name, self._people.rows, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"name must be of an enrolled person, got {name!r}{hint}")
        return name


def made_pictures() -> NDArray[np.uint8]:
    """Return four made pictures, the same everywhere and always, shape (4, 112, 112, 3)."""
    down, across = np.mgrid[0:112, 0:112] / 112
    cards = [
        np.sin(2 * np.pi * (down * (card + channel + 1) + across * (card - channel) + card / 4))
        for card in range(4)
        for channel in range(3)
    ]
    waves = np.stack(cards).reshape(4, 3, 112, 112).transpose(0, 2, 3, 1)
    return np.asarray(np.round(127.5 + 100 * waves), dtype=np.uint8)
