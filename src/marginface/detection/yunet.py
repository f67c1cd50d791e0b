"""YuNet: a picture to boxes, five points and scores.

The network finds faces of about 10 to 300 pixels of what it is given, so every picture is scaled
and set on a black square. Where nothing is found, another scale follows: smaller for a face that
fills the picture, larger for one lost in it.

Its points wander by some pixels with the scale at which it sees a face, so each face found is cut
out and looked at three times more, one of them mirrored, and the points are averaged, which takes
30 ms a face. Recognition gains by it: see `CLOSER_LOOKS`. A face that hangs is turned first, which
takes 14 ms a step of 15 degrees: see `STANDS`.

Source: Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research
    2023; the weights are OpenCV's, see `marginface.weights`.
"""

import math
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from marginface.detection.cuts import at_most, cut_out, turned, turning
from marginface.detection.faces import Detection, central, mirrored, scaled, shared
from marginface.errors import WeightsError
from marginface.weights import resolve_weights

LOWEST_SCORE = 0.6
OVERLAP = 0.3
# (side of the black square, longest side of what is set on it, mirrored): the averaged looks.
# Public SFace weights on 4,000 pairs of 90 people, against the points of one look at 240 pixels:
# d-prime 4.25 to 4.56, FNMR at FMR 0.01 from 0.0265 to 0.0155, best accuracy 0.983 to 0.988.
CLOSER_LOOKS = ((320, 300, False), (160, 130, False), (160, 150, True))
# A closer look counts if its box shares so much with the first, as intersection over union.
SAME_FACE = 0.4
# YuNet's points stay upright however the face is turned, 45 degrees or upside down, and only its
# score tells; so a cut whose face scores low is turned while that makes it score higher. A face
# below the second score may lie on its side or stand on its head. Scores of small faces say less,
# so these are left. Public SFace weights on 220 pictures of CelebA, of which it turns 9 %: FNMR at
# FMR 0.001 from 0.059 to 0.040, d-prime 4.50 to 4.63.
STANDS = 0.93
MAY_LIE = 0.91
TURN_RAD = math.radians(15)
GAIN = 0.004
SMALLEST_TURNED = 48
# Sides in pixels: no look sees more of the picture, and no closer look more of a face.
LARGEST_LOOK = 2560
LARGEST_CUT = 1200


class Detector:
    """Find faces with YuNet; threads may share one detector.

    Args:
        weights: The ONNX file.
        lowest_score: Faces below are not reported.

    Raises:
        WeightsError: If the file is not a network OpenCV can run.
    """

    def __init__(self, weights: Path, *, lowest_score: float = LOWEST_SCORE) -> None:
        self.weights = weights
        self.lowest_score = lowest_score
        # OpenCV's networks keep their buffers, so each thread has its own.
        self._own = threading.local()
        self._check()

    def __getstate__(self) -> dict[str, Any]:
        return {"weights": self.weights, "lowest_score": self.lowest_score}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy in another process opens the file anew; what is open cannot travel.
        self.__dict__.update(state, _own=threading.local())
        self._check()

    def _check(self) -> None:
        try:
            self._network(320)
        except cv2.error as cause:
            raise WeightsError(
                f"{self.weights} must be the YuNet ONNX file, "
                f"OpenCV refuses it ({cause.err or cause})"
            ) from cause

    @classmethod
    def load(cls, path: str | Path | None = None) -> "Detector":
        """Return a detector with the public weights, or those in the file `path`.

        Raises:
            WeightsError: If they are nowhere to be found, or altered.
        """
        return cls(resolve_weights("yunet", path=None if path is None else Path(path)))

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Return every face found, the highest score first.

        Args:
            image: RGB, shape (height, width, 3).

        Raises:
            ValueError: If the image has another shape or type.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(
                "image must be uint8 of shape (height, width, 3), "
                f"got {image.dtype} of shape {image.shape}"
            )
        # Each look would read the whole picture again: at 90 megapixels, 1.4 s each.
        small = at_most(image, LARGEST_LOOK)
        back = np.array(image.shape[1::-1]) / small.shape[1::-1]
        for side, longest in _looks(max(image.shape[:2])):
            if found := self._look(small, side, longest):
                return [self._refined(image, scaled(face, back)) for face in found]
        return []

    def _refined(self, image: NDArray[np.uint8], face: Detection) -> Detection:
        """Return the face with its points averaged over closer looks, where these find it."""
        left, top, width, height = face.box
        side = max(8, round(2 * float(max(width, height))))
        corner = (round(left + width / 2 - side / 2), round(top + height / 2 - side / 2))
        cut = at_most(cut_out(image, corner, side), LARGEST_CUT)
        back = side / len(cut)
        own = np.array([left - corner[0], top - corner[1], width, height]) / back
        turn_rad, first = self._upright(cut, is_small=bool(max(width, height) < SMALLEST_TURNED))
        if turn_rad:
            cut = turned(cut, turn_rad)
            own = first[0].box
        seen = []
        for square, longest, is_mirrored in CLOSER_LOOKS:
            if (square, longest, is_mirrored) == CLOSER_LOOKS[0]:
                faces = first
            else:
                looked_at = np.ascontiguousarray(cut[:, ::-1]) if is_mirrored else cut
                faces = self._look(looked_at, square, longest)
            if is_mirrored:
                faces = [mirrored(other, len(cut)) for other in faces]
            nearest = max(faces, key=lambda other: shared(other.box, own), default=None)
            if nearest is not None and shared(nearest.box, own) >= SAME_FACE:
                seen.append(nearest.points)
        if not seen:
            return face
        turn = turning(len(cut), -turn_rad)
        points = (np.mean(seen, axis=0) @ turn[:, :2].T + turn[:, 2]) * back + corner
        return Detection(box=face.box, points=points, score=face.score)

    def _upright(self, cut: NDArray[np.uint8], *, is_small: bool) -> tuple[float, list[Detection]]:
        """Return by how much a cut must be turned for its face to stand, and the faces then.

        The angle is 0 where it stands already, as most do, or is small; else the first face is
        the one turned.
        """
        looks: dict[float, list[Detection]] = {}

        def score(turn_rad: float) -> float:
            if turn_rad not in looks:
                looks[turn_rad] = self._look(turned(cut, turn_rad), *CLOSER_LOOKS[0][:2])
            face = central(looks[turn_rad], len(cut))
            return 0.0 if face is None else face.score

        best = 0.0
        if score(0.0) >= STANDS or is_small:
            return best, looks[best]
        if score(0.0) < MAY_LIE:
            best = max((0.0, math.pi / 2, math.pi, -math.pi / 2), key=score)
        for step in (TURN_RAD, -TURN_RAD):
            while score(best + step) > score(best) + GAIN:
                best += step
        if score(best) <= score(0.0) + GAIN:
            return 0.0, looks[0.0]
        face = central(looks[best], len(cut))
        return best, [] if face is None else [face]

    def _look(self, image: NDArray[np.uint8], side: int, longest: int) -> list[Detection]:
        height, width = image.shape[:2]
        scale = longest / max(height, width)
        wide, tall = max(1, round(width * scale)), max(1, round(height * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        left, top = (side - wide) // 2, (side - tall) // 2
        canvas = np.zeros((side, side, 3), dtype=np.uint8)
        canvas[top : top + tall, left : left + wide] = cv2.cvtColor(
            np.asarray(cv2.resize(image, (wide, tall), interpolation=method)), cv2.COLOR_RGB2BGR
        )
        _, rows = self._network(side).detect(canvas)
        if rows is None:
            return []
        back = np.array([width / wide, height / tall])
        found = []
        for row in np.asarray(rows, dtype=np.float64):
            corner, extent = (row[:2] - (left, top)) * back, row[2:4] * back
            points = (row[4:14].reshape(5, 2) - (left, top)) * back
            box = np.concatenate([corner, extent])
            found.append(Detection(box=box, points=points, score=float(row[14])))
        return sorted(found, key=lambda face: -face.score)

    def _network(self, side: int) -> cv2.FaceDetectorYN:
        networks: dict[int, cv2.FaceDetectorYN] = self._own.__dict__.setdefault("networks", {})
        if side not in networks:
            networks[side] = cv2.FaceDetectorYN.create(
                str(self.weights), "", (side, side), self.lowest_score, OVERLAP
            )
        return networks[side]


def _looks(longest: int) -> list[tuple[int, int]]:
    """Return the squares to try, in order, and the longest side of the picture in each."""
    if longest <= 400:
        return [(160, 150), (320, 240), (640, 640)]
    looks = [(640, min(longest, 640)), (320, 200)]
    # The last ones take a second of work, and find faces lost in a large picture.
    return looks + [(side, min(longest, side)) for side in (1280, 2560) if longest > side // 2]
