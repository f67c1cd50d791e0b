"""YuNet: a picture to the faces in it, each with a box, five points and a score."""

from marginface.detection.faces import Detection, choose_face
from marginface.detection.yunet import Detector

__all__ = ["Detection", "Detector", "choose_face"]
