"""Config, builder, loop and checkpoints: from a packed data set to a model file."""

from marginface.training.config import TrainConfig
from marginface.training.config_parts import (
    BackboneConfig,
    DataConfig,
    HeadConfig,
    LossConfig,
    OptimizerConfig,
    ScheduleConfig,
)
from marginface.training.export import export_model
from marginface.training.interrupts import TrainingInterrupted
from marginface.training.launch import launch
from marginface.training.loop import train
from marginface.training.noise_report import noise_report
from marginface.training.rundir import TrainResult, read_config
from marginface.training.runlog import read_log

__all__ = [
    "BackboneConfig",
    "DataConfig",
    "HeadConfig",
    "LossConfig",
    "OptimizerConfig",
    "ScheduleConfig",
    "TrainConfig",
    "TrainResult",
    "TrainingInterrupted",
    "export_model",
    "launch",
    "noise_report",
    "read_config",
    "read_log",
    "train",
]
