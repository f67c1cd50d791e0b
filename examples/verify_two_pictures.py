"""Do two pictures show the same person? Needs the public weights: `marginface[weights]`.

    python examples/verify_two_pictures.py one.jpg other.jpg [model]

The model is `sface`, a model file or an ONNX file. Without a threshold in the model there is a
score and no decision; `marginface evaluate --freeze-fmr` puts one in.
"""

import sys

from marginface import Recognizer
from marginface.errors import MarginfaceError


def main(first: str, second: str, model: str = "sface") -> int:
    """Print score and decision; return 1 if a picture shows no face or cannot be read."""
    recognizer = Recognizer.load(model)
    try:
        said = recognizer.verify(first, second)
    except MarginfaceError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"score {said.score:.3f}")
    if said.threshold is None:
        print("the model has no threshold, so there is no decision")
        return 0
    verdict = "the same person" if said.is_match else "not shown to be the same person"
    print(f"threshold {said.threshold:.3f}: {verdict}")
    print(f"fixed at FMR {said.fmr} on {said.fixed_on}" if said.fmr else said.fixed_on)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
