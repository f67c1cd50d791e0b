"""Rows of SFace and of LH2Face, of whose papers no table of results could be read.

What is known of SFace are its repositories' commands and the figures of the model given to OpenCV;
of LH2Face one figure of the abstract. What is missing is said in each row, not guessed.
"""

from dataclasses import replace

from marginface.recipes.rows import (
    CASIA,
    MS1MV2,
    NOT_NAMED,
    VGGFACE2,
    Course,
    Figure,
    PublishedRow,
    five_sets,
)
from marginface.reconstruction import ReconstructionConfig

_NO_TABLE = "no figure: the paper's tables could not be read"
_INITIAL = "weights and PReLU slopes start as this library draws them"

_SFACE_CASIA = PublishedRow(
    name="sface-r50-casia",
    label="SFace, PyTorch command for CASIA-WebFace",
    paper='Zhong et al., "SFace", IEEE TIP 2021, arXiv:2205.12010',
    training_set=CASIA,
    backbone="iresnet50",
    dropout=0.5,
    loss="sface",
    options={"scale": 64.0, "slope": 80.0, "intra_rad": 0.87, "inter_rad": 1.20},
    course=Course(epochs=125.0, drops=(50, 70, 80)),
    batch=256,
    processes=2,
    decays_norms=False,
    schedule_source="SFace's repository, PyTorch trainer and README",
    inferred=(_NO_TABLE,),
    differs=(_INITIAL, "pictures span [-1, 1], the PyTorch trainer's ten times as much"),
)
_SFACE_CASIA_MXNET = replace(
    _SFACE_CASIA,
    name="sface-r50-casia-mxnet",
    label="SFace, MXNet command for CASIA-WebFace",
    dropout=None,
    course=Course(epochs=100.0, drops=(100_000, 140_000, 160_000), unit="steps"),
    decays_norms=True,
    schedule_source="SFace's repository, MXNet trainer and README",
    inferred=(_NO_TABLE, "a batch of 256: 128 on each of the two devices the script takes"),
    differs=(_INITIAL,),
)
_SFACE_VGGFACE2 = replace(
    _SFACE_CASIA_MXNET,
    name="sface-r50-vggface2",
    label="SFace, MXNet command for VGGFace2",
    training_set=VGGFACE2,
    options={"scale": 64.0, "slope": 80.0, "intra_rad": 0.88, "inter_rad": 1.25},
    course=Course(epochs=30.0, drops=(100_000, 160_000, 220_000), unit="steps"),
    inferred=(
        _NO_TABLE,
        "a batch of 256: the command means four devices of 128, the script takes two, and with "
        "512 the last drop would come after the end",
        "that 0.88 and 1.25 are the two angles, which the script reads as a slope and an angle",
    ),
)
_SFACE_MS1MV2 = replace(
    _SFACE_VGGFACE2,
    name="sface-r100-ms1mv2",
    label="SFace, MXNet command for MS1MV2",
    training_set=MS1MV2,
    backbone="iresnet100",
    options={"scale": 64.0, "slope": 80.0, "intra_rad": 0.90, "inter_rad": 1.20},
    batch=512,
    processes=4,
    inferred=(
        _NO_TABLE,
        "a batch of 512: the command means four devices of 128, the script takes two",
        "that 0.90 and 1.20 are the two angles, which the script reads as a slope and an angle",
    ),
)
_SFACE_OPENCV = replace(
    _SFACE_MS1MV2,
    name="sface-mobilefacenet-ms1mv2",
    label="SFace, the model given to OpenCV",
    backbone="sface",
    dim=128,
    dropout=0.4,
    schedule_source="none; that of SFace's MXNet command for MS1MV2 stands in",
    figures=five_sets(
        "OpenCV's documentation, 4.5.4",
        lfw=0.9960,
        agedb=0.9490,
        calfw=0.9395,
        cplfw=0.9105,
        cfp_fp=0.9480,
    ),
    inferred=(
        "the training set, the angles and the whole schedule: those of the MS1MV2 command; only "
        "network, size of the feature and figures are published",
    ),
)
_LH2FACE = PublishedRow(
    name="lh2face-r50-ms1mv2",
    label="LH2Face",
    paper='Xie et al., "LH2Face", 2025, arXiv:2506.23555',
    training_set=MS1MV2,
    backbone="iresnet50",
    loss="lh2face",
    options={"margin_ratio": 0.35, "proxy_weights": (1.0, 1.0, 1.0)},
    course=Course(epochs=25.0, drops=(10, 18, 22)),
    batch=512,
    clip=5.0,
    reconstruction=ReconstructionConfig(),
    schedule_source="none; MagFace's stands in",
    figures=(
        Figure(
            benchmark="IJB-B",
            metric=NOT_NAMED,
            value=0.4939,
            source="the abstract, which calls it accuracy",
        ),
    ),
    inferred=(
        "training set, network, batch, rate, schedule and all weights of the terms; of the method "
        "only six formulas could be read, so this is a reconstruction of LH2Face, not a repetition",
        "what was measured: TAR at FAR 1e-6 is the likeliest reading, since at 1e-4 such networks "
        "reach 94 to 96 %",
    ),
)

OTHER_ROWS = (
    _SFACE_CASIA,
    _SFACE_CASIA_MXNET,
    _SFACE_VGGFACE2,
    _SFACE_MS1MV2,
    _SFACE_OPENCV,
    _LH2FACE,
)

WITHOUT_RECIPE = {
    "CosFace": "trained on a private set",
    "Dynamic-AdaCos": "its loss is not in this library",
    "AdaptiveFace": "its loss is not in this library",
    "UniformFace": "its loss is not in this library",
    "GroupFace": "its network of groups is not in this library",
    "CircleLoss": "its loss is not in this library",
    "Dyn-arcFace": "its loss is not in this library",
}
