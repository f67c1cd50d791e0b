"""Rows of vision transformers: what insightface's arcface_torch trained on WebFace42M.

Sources of results: the table "ViT For Face Recognition" in arcface_torch's README, rows of 64
devices. Sources of schedules: its configs `wf42m_pfc03_40epoch_64gpu_vit_*.py`, and for what they
leave to the trainer `train_v2.py` and `backbones/__init__.py`.
"""

from dataclasses import replace

from marginface.recipes.rows import WEBFACE42M, Course, PublishedRow, tar_at

_README = "insightface's arcface_torch, README"
_INFERRED = (
    "that the rate fell with the square of what is left: the trainer of the months in which the "
    "rows came out; today's falls in a straight line, --schedule.power 1",
    "that all of it decays, positions and norms too: the network names positions to be left out, "
    "the trainer does not ask; --optimizer.no-decay-positions leaves them out",
)
_DIFFERS = (
    "all classes take part in every step, not a sample of 30 % of them",
    "float32 instead of mixed precision; --precision bf16 comes near",
)

_VIT_T = PublishedRow(
    name="cosface-vit-t-webface42m",
    label="ViT-T",
    paper='An et al., "Killing Two Birds with One Stone", CVPR 2022, arXiv:2203.15565',
    training_set=WEBFACE42M,
    backbone="vit_t",
    network_options={"drop_path": 0.05, "mask_ratio": 0.0},
    loss="cosface",
    options={"scale": 64.0, "margin_cosine": 0.4},
    optimizer="adamw",
    course=Course(epochs=40.0, lr=1e-3, power=2.0, warmup_epochs=4),
    batch=24_576,
    processes=64,
    weight_decay=0.1,
    clip=5.0,
    schedule_source="insightface's arcface_torch, config and trainer",
    figures=tar_at("1e-4", _README, ijb_c=0.9731) + tar_at("1e-5", _README, ijb_c=0.9597),
    inferred=_INFERRED,
    differs=_DIFFERS,
)
_VIT_S = replace(
    _VIT_T,
    name="cosface-vit-s-webface42m",
    label="ViT-S",
    backbone="vit_s",
    figures=tar_at("1e-4", _README, ijb_c=0.9773) + tar_at("1e-5", _README, ijb_c=0.9657),
)
_VIT_B = replace(
    _VIT_T,
    name="cosface-vit-b-webface42m",
    label="ViT-B",
    backbone="vit_b",
    network_options={"drop_path": 0.05, "mask_ratio": 0.1},
    figures=tar_at("1e-4", _README, ijb_c=0.9790) + tar_at("1e-5", _README, ijb_c=0.9704),
    inferred=(
        *_INFERRED,
        "that 10 % of the tokens skipped the blocks, as its code does whatever ratio above 0 it "
        "is given; the config says 5 %",
    ),
)

TRANSFORMER_ROWS = (_VIT_T, _VIT_S, _VIT_B)
