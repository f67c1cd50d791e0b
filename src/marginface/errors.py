"""What can go wrong, drawn as a tree.

    ValueError, TypeError        a broken contract of one argument
    MarginfaceError              everything below; catch this one
      UndefinedRateError         a rate that the number of comparisons cannot support
      ProtocolFileError          a pair, identity or landmark file that does not parse or fit
      DataError                  a folder or packed set that is missing, empty, broken or small
      NoFaceError                no face found where one is needed
      WeightsError               a weight file that is missing, unknown or altered
      ModelFileError             a model file that is broken or whose contract does not hold
      CheckpointMismatchError    a checkpoint of another architecture or run
      CheckpointWriteError       a file that could not be written; the last good one stays
      NonFiniteLossError         training met NaN or infinity and stopped
      MissingExtraError          an optional dependency that is not installed
      IndexMismatchError         a search index made of other rows than those at hand
      ServerError                a server that does not answer, or refuses
      ProcessGroupError          a process of a run was lost, failed, or could not be waited for
      ProcessMismatchError       the processes of a run were not started for the same run

Messages have one form: argument, contract, what came, then one hint.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class MarginfaceError(Exception):
    """The base of every error this library raises on purpose, besides ValueError and TypeError."""


class UndefinedRateError(MarginfaceError):
    """A rate cannot be measured with so few comparisons."""


class ProtocolFileError(MarginfaceError):
    """A protocol file does not parse, or names what is not there."""


class DataError(MarginfaceError):
    """A folder of faces or a packed data set cannot be used."""


class NoFaceError(MarginfaceError):
    """No face was found in a picture that must show one."""


class WeightsError(MarginfaceError):
    """A public weight file is missing, unknown or not the file it should be."""


class ModelFileError(MarginfaceError):
    """A model file is broken or breaks its contract."""


class CheckpointMismatchError(MarginfaceError):
    """A checkpoint belongs to another architecture or run."""


class CheckpointWriteError(MarginfaceError):
    """A file could not be written; what was there before is untouched."""


class NonFiniteLossError(MarginfaceError):
    """Training met a NaN or infinite loss."""


class MissingExtraError(MarginfaceError):
    """An optional dependency is not installed."""


class IndexMismatchError(MarginfaceError):
    """A search index was made of other rows than those at hand."""


class ServerError(MarginfaceError):
    """A server did not answer, or refused."""


class ProcessGroupError(MarginfaceError):
    """A process of a run was lost, failed, or could not be waited for."""


class ProcessMismatchError(MarginfaceError):
    """The processes of a run were not started for the same run."""


def unknown_name(argument: str, name: str, known: Iterable[str]) -> ValueError:
    """Return the error for a name outside a table, with the nearest known one.

    Args:
        argument: What the name was given for.
        name: The name that came.
        known: All names that would do.

    Example:
        >>> print(unknown_name("loss", "arcfase", ["arcface", "cosface"]))
        loss must be one of arcface, cosface; got 'arcfase'; did you mean 'arcface'?
    """
    names = list(known)
    near = get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValueError(f"{argument} must be one of {', '.join(names)}; got {name!r}{hint}")


def counted(number: int, one: str, many: str) -> str:
    """Write a number with its noun, one or many.

    Example:
        >>> counted(1, "person", "people"), counted(1200, "person", "people")
        ('1 person', '1,200 people')
    """
    return f"{number:,} {one if number == 1 else many}"
