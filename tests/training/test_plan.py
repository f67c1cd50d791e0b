"""What a run will cost: the model by hand, against real memory, and what it advises."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from marginface.data import open_faces
from marginface.reconstruction import ReconstructionConfig
from marginface.training import (
    BackboneConfig,
    DataConfig,
    HeadConfig,
    LossConfig,
    OptimizerConfig,
    TrainConfig,
)
from marginface.training.advice import Advice
from marginface.training.head_cost import WORKSPACE, head_cost
from marginface.training.machine import Speed
from marginface.training.network_cost import NetworkMemory, count_memory
from marginface.training.plan import Plan, measure, memory_warnings, plan
from marginface.training.prediction import Facts
from tests.processes import run_on
from tests.training.resident import PEAK, bytes_of_backbone_step, bytes_of_head_step
from tests.training.tiny import tiny_config

MIB, GIB = 1 << 20, 1 << 30
NETWORK = NetworkMemory(weights=4 * MIB, gradient=4 * MIB, fixed=0, per_picture=MIB, passing=0)
SPEED = Speed(
    product_flops=50e9, rounded_flops=25e9, passes=2e9, streamed_bytes=10e9, fresh_bytes=2e9
)
FACTS = Facts(
    network=NETWORK, base_bytes=0, free_bytes=16 * GIB, speed=SPEED, picture_s=0.001, data_s=0.0
)


def run_of(**changes: Any) -> TrainConfig:
    fields = {"data": DataConfig(path=Path("none.pack"), workers=0), "steps": 100} | changes
    return TrainConfig(**fields)


def advice_of(found: Plan) -> dict[str, Advice]:
    return {one.setting: one for one in found.advice}


# By hand


def test_dense_head_by_hand() -> None:
    """ArcFace, 100 rows, 100,000 classes, 8 dimensions: 5 matrices and the unit vectors."""
    config = run_of(backbone=BackboneConfig(dim=8), batch_size=100)
    cost = replace(head_cost(config, 100_000), chunk=None)
    memory = cost.memory()
    assert memory.kept == 2 * 3_200_000
    assert memory.gradient == 3_200_000
    assert memory.within == 5 * 40_000_000 + 3_200_000
    # With many dimensions the way back through the normalisation: three sets of vectors.
    wide = replace(cost, dim=1000).memory()
    assert wide.within == 3 * 400_000_000


def test_small_matrices_stay_with_the_process() -> None:
    """4 rows, 1,000 classes, 8 dimensions: matrices of 16,000 bytes, vectors of 32,000."""
    config = run_of(backbone=BackboneConfig(dim=8), batch_size=4)
    assert head_cost(config, 1000).memory().within == 6.5 * 16_000 + 3 * 32_000


def test_streamed_head_by_hand() -> None:
    config = run_of(backbone=BackboneConfig(dim=8), batch_size=4, head=HeadConfig(chunk=100))
    memory = head_cost(config, 1000).memory()
    # 3 blocks of 4 × 100, the lengths of 1,000 vectors, the gradient.
    assert memory.within == WORKSPACE + 4_800 + 4_000 + 32_000
    in_walk = replace(config, head=HeadConfig(chunk=100, updates_in_walk=True))
    moved = head_cost(in_walk, 1000).memory()
    # Only the gradient of a chunk is left: 4 bytes × 100 × 8.
    assert (moved.gradient, moved.within) == (0, memory.within - 32_000 + 3_200)
    cached = replace(in_walk, head=replace(in_walk.head, precision="float32-cached"))
    assert head_cost(cached, 1000).memory().within == moved.within + 2 * 4 * 1000
    # With a gradient and no more rows than dimensions they wait in there.
    waiting = replace(config, head=HeadConfig(chunk=100, precision="float32-cached"))
    assert head_cost(waiting, 1000).memory().within == memory.within


def test_products_by_hand() -> None:
    config = run_of(backbone=BackboneConfig(dim=8), batch_size=4)
    one = 2 * 4 * 1000 * 8
    assert head_cost(config, 1000).work().product_flops == 3 * one
    streamed = replace(config, head=HeadConfig(chunk=100))
    assert head_cost(streamed, 1000).work().product_flops == 3 * one
    more_rows = replace(streamed, batch_size=9)
    assert head_cost(more_rows, 1000).work().product_flops == 4 * one * 9 / 4
    in_walk = replace(config, head=HeadConfig(chunk=100, updates_in_walk=True))
    assert head_cost(in_walk, 1000).work().product_flops == 4 * one
    cached = replace(in_walk, head=replace(in_walk.head, precision="float32-cached"))
    assert head_cost(cached, 1000).work().product_flops == 3 * one
    single = replace(streamed, loss=LossConfig(name="sface"))
    assert head_cost(single, 1000).work().product_flops == 3 * one
    tenth = replace(config, head=HeadConfig(sample_rate=0.1, updates_in_walk=True))
    assert head_cost(tenth, 1000).work().product_flops == 4 * one / 10


def test_parts_by_hand() -> None:
    """A whole step: activations of 8 pictures, weights, momentum and average of the network."""
    config = run_of(backbone=BackboneConfig(dim=8), batch_size=8, ema_decay=0.9)
    found = plan(config, 1000, facts=replace(FACTS, base_bytes=MIB))
    parts = {part.name: part for part in found.parts}
    assert parts["process"].peak_bytes == MIB
    assert parts["backbone"].kept_bytes == 3 * 4 * MIB
    # The way back is the higher moment: the network's gradient outweighs the head's matrices.
    assert parts["backbone"].peak_bytes == 3 * 4 * MIB + 8 * MIB + 4 * MIB
    assert parts["head"].peak_bytes == 3 * 32_000
    colours = 3 * 112 * 112 * 8
    assert parts["data"].peak_bytes == colours + 4 * colours
    assert found.peak_bytes == sum(part.peak_bytes for part in found.parts)


def test_two_processes_share_batch_and_classes() -> None:
    config = run_of(batch_size=8, backbone=BackboneConfig(dim=8))
    one, two = (head_cost(config, 1001, processes=n) for n in (1, 2))
    assert (one.classes, two.classes) == (1001, 501)
    assert one.rows == two.rows == 8, "features are gathered"
    pair = plan(config, 1001, processes=2, facts=FACTS)
    backbone = next(part for part in pair.parts if part.name == "backbone")
    # Weights, momentum, buckets; the activations of 4 pictures and the gradient.
    assert backbone.peak_bytes == (3 * 4 + 4 + 4) * MIB


def test_accumulating_keeps_fewer_activations_and_gradients_beside_them() -> None:
    whole = run_of(batch_size=64)
    split = replace(whole, accumulate=8)
    found = [
        {part.name: part for part in plan(config, 30_000, facts=FACTS).parts}
        for config in (whole, split)
    ]
    # Activations of 64 pictures, and of 8 beside the gradient of the micro-batches before.
    activations = [parts["backbone"].peak_bytes - 8 * MIB for parts in found]
    assert activations == [64 * MIB, 8 * MIB + 4 * MIB]
    gradient = 4 * 512 * 30_000
    cost = head_cost(split, 30_000)
    assert cost.rows == 8
    assert found[1]["head"].peak_bytes == 3 * gradient + cost.memory().within


def test_proxies_are_rows_and_no_momentum_is_no_memory() -> None:
    config = run_of(batch_size=8, backbone=BackboneConfig(dim=8))
    assert head_cost(replace(config, loss=LossConfig(name="lh2face")), 100).rows == 16
    still = replace(config, optimizer=OptimizerConfig(momentum=0.0))
    assert head_cost(still, 100).memory().kept == 4 * 8 * 100
    parts = {part.name: part for part in plan(still, 100, facts=FACTS).parts}
    assert parts["backbone"].kept_bytes == 4 * MIB


def test_adamw_keeps_two_means_and_moves_them() -> None:
    config = run_of(batch_size=8, backbone=BackboneConfig(dim=8))
    adamw = replace(config, optimizer=OptimizerConfig(name="adamw"))
    one, two = (head_cost(one, 100) for one in (config, adamw))
    assert (one.memory().kept, two.memory().kept) == (2 * 3_200, 3 * 3_200)
    assert one.memory().within == two.memory().within
    assert two.work().streamed_bytes - one.work().streamed_bytes == 2 * 3_200
    found = [
        {part.name: part for part in plan(one, 100, facts=FACTS).parts} for one in (config, adamw)
    ]
    backbones = [parts["backbone"] for parts in found]
    assert [part.kept_bytes for part in backbones] == [2 * 4 * MIB, 3 * 4 * MIB]
    assert backbones[1].peak_bytes - backbones[0].peak_bytes == 4 * MIB
    times = [part.seconds for part in backbones]
    assert times[0] is not None
    assert times[1] == pytest.approx(times[0] + 2 * 4 * MIB / SPEED.streamed_bytes)


def test_adamw_is_not_advised_to_move_in_the_walk() -> None:
    config = run_of(optimizer=OptimizerConfig(name="adamw"))
    found = advice_of(plan(config, 1_000_000, facts=FACTS))
    assert "goes with SGD" in found["head.updates_in_walk"].reason
    assert not found["head.updates_in_walk"].is_change
    assert not found["head.sample_rate"].is_change


def test_threads_that_share_cores_take_longer() -> None:
    config, crowded = run_of(batch_size=8), replace(FACTS, sharing=3.0)
    alone, together = (plan(config, 1000, facts=facts).step_s for facts in (FACTS, crowded))
    assert alone is not None
    assert together == pytest.approx(3 * alone)


def test_a_split_batch_visits_the_classes_several_times() -> None:
    config = run_of(batch_size=8)
    heads = [
        next(part.seconds for part in plan(one, 100_000, facts=FACTS).parts if part.name == "head")
        for one in (config, replace(config, batch_size=32, accumulate=4))
    ]
    assert heads[0] is not None
    assert heads[1] == pytest.approx(4 * heads[0])


def test_hours_and_pictures_a_second() -> None:
    found = plan(run_of(batch_size=100), 10, facts=FACTS)
    assert found.step_s is not None
    assert found.hours is not None
    assert found.hours == pytest.approx(found.step_s * 100 / 3600)
    assert found.images_per_s == pytest.approx(100 / found.step_s)
    epochs = TrainConfig(data=DataConfig(path=Path("none.pack")), epochs=2)
    assert plan(epochs, 10, facts=FACTS).hours is None


def test_reading_ahead_hides_behind_computing() -> None:
    slow = replace(FACTS, data_s=0.01)
    times = []
    for workers in (0, 1, 16):
        data = DataConfig(path=Path("none.pack"), workers=workers)
        found = plan(run_of(batch_size=100, data=data), 10, facts=slow).step_s
        assert found is not None
        times.append(found)
    computing = times[2]
    assert times[0] == pytest.approx(1.0 + computing)
    assert times[1] == pytest.approx(1.0)
    assert 0.1 < computing < 0.2


# Against real memory


on_linux = pytest.mark.skipif(not PEAK.exists(), reason="the peak is read from /proc")


@on_linux
@pytest.mark.parametrize(
    ("loss", "rows", "classes", "dim", "head"),
    [
        ("arcface", 256, 40_000, 128, None),
        ("arcface", 16, 40_000, 512, None),
        ("sface", 256, 40_000, 64, None),
        ("curricularface", 256, 40_000, 64, None),
        ("lh2face", 128, 40_000, 64, None),
        ("arcface", 64, 60_000, 512, HeadConfig(chunk=2048)),
        ("curricularface", 256, 40_000, 64, HeadConfig(chunk=8192)),
        (
            "arcface",
            512,
            100_000,
            32,
            HeadConfig(chunk=1024, precision="float32-cached", updates_in_walk=True),
        ),
    ],
)
def test_head_takes_what_was_predicted(
    loss: str, rows: int, classes: int, dim: int, head: HeadConfig | None
) -> None:
    config = run_of(
        batch_size=rows,
        backbone=BackboneConfig(dim=dim),
        loss=LossConfig(name=loss),
        head=head or HeadConfig(),
    )
    cost = head_cost(config, classes)
    if head is None:
        cost = replace(cost, chunk=None)
    predicted = cost.memory().within
    assert predicted >= 100 * MIB
    how = (cost.chunk, config.head.precision, config.head.updates_in_walk)
    (taken,) = run_on(1, bytes_of_head_step, loss, rows, classes, dim, *how)
    assert taken == pytest.approx(predicted, rel=0.3)


@on_linux
def test_backbone_takes_what_was_counted() -> None:
    config = run_of(
        batch_size=8, backbone=BackboneConfig(name="mobilefacenet", dim=128, input_size=112)
    )
    memory = count_memory(config)
    predicted = memory.fixed + 8 * (memory.per_picture + memory.passing) + memory.gradient
    assert predicted >= 100 * MIB
    (taken,) = run_on(1, bytes_of_backbone_step, "mobilefacenet", 128, 8, 112)
    assert taken == pytest.approx(predicted, rel=0.3)


# What it advises


def test_few_classes_stay_dense_and_many_stream() -> None:
    few = advice_of(plan(run_of(), 1000, facts=FACTS))["head.chunk"]
    assert (few.better, few.is_change) == (None, False)
    assert "few enough" in few.reason
    small_chunks = run_of(head=HeadConfig(chunk=64))
    many = advice_of(plan(small_chunks, 85_742, facts=FACTS))["head.chunk"]
    assert "walk saves 5 matrices" in many.reason
    head = head_cost(run_of(), 20_001)
    assert head.chunk == 2048
    assert head_cost(run_of(), 20_000).chunk is None


def test_a_dense_head_that_does_not_fit_streams() -> None:
    config = run_of(batch_size=4096)
    speed = replace(SPEED, passes=20e9, fresh_bytes=20e9)
    network = replace(NETWORK, per_picture=0)
    light = replace(FACTS, network=network, picture_s=1e-6, speed=speed)
    # Three products instead of four are faster where there is room for the matrices.
    assert not advice_of(plan(config, 20_000, facts=light))["head.chunk"].is_change
    narrow = replace(light, free_bytes=GIB)
    chunk = advice_of(plan(config, 20_000, facts=narrow))["head.chunk"]
    assert (chunk.now, chunk.better) == (None, 2048)
    assert chunk.saved_bytes > GIB
    assert chunk.saved_s is not None
    assert chunk.saved_s < 0


def test_updates_move_into_the_walk_where_the_gradient_is_large() -> None:
    """Its products are computed again, so time decides where the head takes much of a step."""
    deep = replace(FACTS, picture_s=1.0)
    few, many = (
        advice_of(plan(run_of(), classes, facts=deep))["head.updates_in_walk"]
        for classes in (1000, 1_000_000)
    )
    assert (few.better, many.better) == (False, True)
    assert many.saved_bytes == 4 * 512 * (1_000_000 - 2048)  # the gradient of a chunk is left
    found = advice_of(plan(run_of(), 1_000_000, facts=FACTS))
    assert found["head.updates_in_walk"].reason == "head.sample_rate below 1 needs it"
    assert found["head.updates_in_walk"].better
    split = advice_of(plan(run_of(accumulate=2), 1_000_000, facts=FACTS))["head.updates_in_walk"]
    assert not split.is_change
    assert "accumulate 1" in split.reason
    joint = run_of(reconstruction=ReconstructionConfig())
    beside = advice_of(plan(joint, 1_000_000, facts=FACTS))["head.updates_in_walk"]
    assert not beside.is_change
    assert "without the canonical term" in beside.reason


def test_precision_is_what_this_machine_is_fast_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marginface.heads.precision.multiplies_bfloat16", lambda device: True)
    slow = advice_of(plan(run_of(), 1_000_000, facts=FACTS))["head.precision"]
    assert slow.better.startswith("float32")
    fast = replace(FACTS, speed=replace(SPEED, rounded_flops=500e9))
    found = advice_of(plan(run_of(), 1_000_000, facts=fast))["head.precision"]
    assert found.better.startswith("bfloat16")
    assert "0.01" in found.reason
    assert found.saved_s is not None
    assert found.saved_s > 0
    # Where the backbone takes nearly all of the time, no accuracy is traded for it.
    deep = replace(fast, picture_s=1.0)
    assert not advice_of(plan(run_of(), 1_000_000, facts=deep))["head.precision"].is_change


def test_what_does_not_fit_is_shared() -> None:
    fits = plan(run_of(), 1_000_000, facts=FACTS)
    assert advice_of(fits)["processes"].reason == "it fits"
    assert fits.warnings == ()
    large = plan(run_of(), 20_000_000, facts=FACTS)
    assert large.free_bytes is not None
    assert large.peak_bytes > large.free_bytes
    assert "16.0 GiB to give" in large.warnings[0]
    processes = advice_of(large)["processes"]
    # 20,000,000 class vectors of 512 numbers and their momentum are 76.3 GiB, 8 shares of 9.5.
    assert processes.better == 8
    shared = replace(run_of(), head=HeadConfig(updates_in_walk=True))
    assert plan(shared, 20_000_000, processes=8, facts=FACTS).peak_bytes < 16 * GIB
    assert plan(shared, 20_000_000, processes=4, facts=FACTS).peak_bytes > 16 * GIB
    nothing = replace(FACTS, free_bytes=MIB)
    hopeless = advice_of(plan(run_of(), 1_000_000, facts=nothing))["processes"]
    assert not hopeless.is_change
    assert "lower batch_size" in hopeless.reason


def test_no_more_processes_are_advised_than_can_share_the_batch() -> None:
    """100,000,000 class vectors of 512 numbers and their momentum are 381 GiB, 32 shares of 12."""
    config = run_of(head=HeadConfig(updates_in_walk=True))
    for batch_size, better in ((128, 32), (28, 28), (8, 1)):
        found = plan(replace(config, batch_size=batch_size), 100_000_000, facts=FACTS)
        processes = advice_of(found)["processes"]
        assert processes.better == better, batch_size
    assert "up to 8 makes it fit" in processes.reason


def test_a_head_that_takes_most_of_a_step_is_sampled() -> None:
    many = advice_of(plan(run_of(), 1_000_000, facts=FACTS))["head.sample_rate"]
    assert many.better == 0.1
    assert "another objective" in many.reason
    deep = replace(FACTS, picture_s=1.0)
    assert not advice_of(plan(run_of(), 1_000_000, facts=deep))["head.sample_rate"].is_change


def test_following_all_advice_gains_what_it_said() -> None:
    config = run_of()
    before = plan(config, 1_000_000, facts=FACTS)
    advised = {one.setting.removeprefix("head."): one for one in before.advice}
    processes = advised.pop("processes").better
    head = HeadConfig(**{name: one.better for name, one in advised.items()})
    after = plan(replace(config, head=head), 1_000_000, processes=processes, facts=FACTS)
    saved = sum(one.saved_s or 0 for one in before.advice)
    assert before.step_s is not None
    assert after.step_s is not None
    assert before.step_s - after.step_s == pytest.approx(saved)
    assert before.peak_bytes - after.peak_bytes == sum(one.saved_bytes for one in before.advice)
    assert not any(one.is_change for one in after.advice)


# As it is asked


def test_processes_on_this_machine_add_up() -> None:
    config, facts = run_of(), replace(FACTS, base_bytes=GIB, free_bytes=2 * GIB)
    assert plan(config, 100, facts=facts).warnings == ()
    (warning,) = plan(config, 100, processes=2, facts=facts).warnings
    assert warning.startswith("2 processes of 1.1 GiB each may need 2.2 GiB")


def test_what_training_would_refuse_is_not_planned() -> None:
    with pytest.raises(ValueError, match="batch_size must be accumulate times 3 or more on 3 pro"):
        plan(run_of(batch_size=2), 100, processes=3, facts=FACTS)
    with pytest.raises(ValueError, match="reconstruction must be left out on several"):
        plan(run_of(reconstruction=ReconstructionConfig()), 100, processes=2, facts=FACTS)
    for device in ("gpu", "meta"):
        with pytest.raises(
            ValueError, match=f"device must be one torch can train on, got '{device}"
        ):
            plan(run_of(device=device), 100)


def test_a_backbone_that_cannot_be_tried_is_planned_without_time() -> None:
    """A picture of 100,000 pixels a side takes hundreds of GiB; the plan must not."""
    side = BackboneConfig(name="iresnet_tiny", dim=8, input_size=100_000)
    found = plan(run_of(backbone=side, batch_size=2), 100)
    assert found.step_s is None
    assert len(found.warnings) == 1
    assert any("does not take even 2 pictures" in note for note in found.notes)


def test_warnings_cost_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marginface.training.plan.free_bytes", lambda device: 10 * GIB)
    config = run_of(batch_size=2)
    assert memory_warnings(config, 10_000) == ()
    (warning,) = memory_warnings(config, 10_000_000)
    assert "GiB at the peak" in warning
    monkeypatch.setattr("marginface.training.plan.free_bytes", lambda device: None)
    assert memory_warnings(config, 10_000_000) == ()


def test_counting_draws_nothing() -> None:
    state = torch.get_rng_state()
    count_memory(run_of())
    assert torch.equal(state, torch.get_rng_state())


def test_measuring_leaves_the_random_state(pack: Path) -> None:
    config, faces = tiny_config(pack), open_faces(pack)
    state = torch.get_rng_state()
    facts = measure(config, 6, faces=faces)
    assert torch.equal(state, torch.get_rng_state())
    found = plan(config, 6, faces=faces, facts=facts)
    assert found.steps == 12
    assert found.step_s is not None
    assert 0 < found.step_s < 600
    assert json.loads(json.dumps(found.to_dict()))["hours"] == found.hours


def test_half_the_bytes_in_bf16() -> None:
    config = run_of()
    full, half = (count_memory(replace(config, precision=kind)) for kind in ("float32", "bf16"))
    assert half.per_picture == pytest.approx(full.per_picture / 2, rel=0.02)
    assert half.weights == full.weights
    # Autocast keeps a copy of all weights, at half their size.
    assert half.fixed >= full.gradient / 2 > full.fixed
    double = count_memory(replace(config, precision="float64"))
    assert double.weights == 2 * full.weights


def test_frozen_stages_keep_nothing() -> None:
    config = run_of()
    frozen = replace(config, freeze=("stem", "layer1"))
    assert count_memory(frozen).per_picture < count_memory(config).per_picture
    assert count_memory(frozen).gradient < count_memory(config).gradient


def test_a_device_elsewhere_is_planned_from_the_model() -> None:
    if torch.cuda.is_available():
        pytest.skip("the device is here")
    found = plan(run_of(device="cuda"), 10_000)
    assert found.step_s is None
    assert found.images_per_s is None
    assert found.peak_bytes > GIB
    assert any("not on this machine" in note for note in found.notes)


@pytest.mark.parametrize(("identities", "processes"), [(1, 1), (10, 0)])
def test_numbers_out_of_range(identities: int, processes: int) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        plan(run_of(), identities, processes=processes, facts=FACTS)
