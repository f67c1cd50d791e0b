"""Detect, align, embed, compare: the `Recognizer`, and the model file with its contract."""

from marginface.recognition.benchmark import PairScores, evaluate_pairs, score_pairs
from marginface.recognition.contract import MatchThreshold, ModelContract, TrainingData
from marginface.recognition.model_file import load_model, read_contract, save_model
from marginface.recognition.public import PUBLIC_MODELS, load_public_model
from marginface.recognition.recognizer import Recognizer, Verification
from marginface.recognition.sources import EmbeddedPictures, embed_source

__all__ = [
    "PUBLIC_MODELS",
    "EmbeddedPictures",
    "MatchThreshold",
    "ModelContract",
    "PairScores",
    "Recognizer",
    "TrainingData",
    "Verification",
    "embed_source",
    "evaluate_pairs",
    "load_model",
    "load_public_model",
    "read_contract",
    "save_model",
    "score_pairs",
]
