"""Detect, align, embed, compare: the `Recognizer`, and the model file with its contract."""

from marginface.recognition.contract import MatchThreshold, ModelContract, TrainingData
from marginface.recognition.model_file import load_model, read_contract, save_model

__all__ = [
    "MatchThreshold",
    "ModelContract",
    "TrainingData",
    "load_model",
    "read_contract",
    "save_model",
]
