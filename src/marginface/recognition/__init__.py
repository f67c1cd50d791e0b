"""Detect, align, embed, compare: the `Recognizer`, and the model file with its contract."""

from marginface.recognition.benchmark import evaluate_pairs
from marginface.recognition.contract import MatchThreshold, ModelContract, TrainingData
from marginface.recognition.engines import ENGINES
from marginface.recognition.freeze import write_with_threshold
from marginface.recognition.gallery import Gallery
from marginface.recognition.model_file import load_model, read_contract, save_model
from marginface.recognition.onnx_export import ExportPlan, export_onnx
from marginface.recognition.onnx_file import save_onnx
from marginface.recognition.pair_scores import PairScores, judge_scores, score_pairs
from marginface.recognition.parity import ParityReport
from marginface.recognition.people import Candidate
from marginface.recognition.picture_table import PairGroups, pair_groups
from marginface.recognition.public import PUBLIC_MODELS, load_public_model
from marginface.recognition.recognizer import Recognizer, Verification
from marginface.recognition.similarity import SCORES
from marginface.recognition.sources import EmbeddedPictures, embed_source

__all__ = [
    "ENGINES",
    "PUBLIC_MODELS",
    "SCORES",
    "Candidate",
    "EmbeddedPictures",
    "ExportPlan",
    "Gallery",
    "MatchThreshold",
    "ModelContract",
    "PairGroups",
    "PairScores",
    "ParityReport",
    "Recognizer",
    "TrainingData",
    "Verification",
    "embed_source",
    "evaluate_pairs",
    "export_onnx",
    "judge_scores",
    "load_model",
    "load_public_model",
    "pair_groups",
    "read_contract",
    "save_model",
    "save_onnx",
    "score_pairs",
    "write_with_threshold",
]
