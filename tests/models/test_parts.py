"""Models in parts, as one of several pretended ranks has them: nothing is sent between ranks."""

from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ke_steps.artefacts.manifests import describe_files
from ke_steps.job.errors import UserError
from ke_steps.job.files import read_json, write_json
from ke_steps.models import parts
from ke_steps.models.loading import load_model
from ke_steps.training.sharding import has_room, shard
from tests.invented.models import FAMILIES, build_checkpoint

CPU = torch.device("cpu")
NUM_RANKS = 5
"""Not a divisor of all numbers of rows: parts differ in length, and of some rows there is none."""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Return the manifests of a checkpoint of every family."""
    folder = tmp_path_factory.mktemp("families")
    return {family: build_checkpoint(folder / family, family) for family in FAMILIES}


@pytest.fixture
def as_rank(monkeypatch):
    """Pretend to be a rank of several."""

    def pretend(rank):
        monkeypatch.setenv("WORLD_SIZE", str(NUM_RANKS))
        monkeypatch.setenv("RANK", str(rank))
        distributed.init_process_group("fake", rank=rank, world_size=NUM_RANKS, store=FakeStore())

    yield pretend
    if distributed.is_initialized():
        distributed.destroy_process_group()


def load_part(manifest, precision="fp32"):
    return load_model(manifest, device=CPU, shard=partial(shard, device=CPU, precision=precision))


class Allocations(TorchDispatchMode):
    """Adds up the sizes of all tensors that are made, those that are freed again included."""

    def __init__(self):
        super().__init__()
        self.num_bytes = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        made = function(*arguments, **(keywords or {}))
        given = set(storages((arguments, keywords)))
        new = {key: size for key, size in storages(made).items() if key not in given}
        self.num_bytes += sum(new.values())
        return made


def storages(tree):
    """Return the sizes of the memory of tensors, of a sharded one of its part, by address."""
    tensors = [each for each in tree_leaves(tree) if isinstance(each, torch.Tensor)]
    local = [each.to_local() if isinstance(each, DTensor) else each for each in tensors]
    real = [each.untyped_storage() for each in local if each.device.type != "meta"]
    return {each.data_ptr(): each.nbytes() for each in real}


@pytest.mark.parametrize(
    ("family", "rank"),
    [(family, NUM_RANKS - 1) for family in FAMILIES] + [("olmo", 0), ("mixtral", 2)],
)
def test_a_rank_reads_its_rows_alone(family, rank, checkpoints, as_rank, monkeypatch):
    expected = load_model(checkpoints[family], device=CPU)
    size = sum(each.numel() * 4 for each in expected.parameters())
    as_rank(rank)
    read, fromfile = [], parts.np.fromfile

    def reading(path, dtype, count, **keywords):
        read.append(count)
        return fromfile(path, dtype, count, **keywords)

    monkeypatch.setattr(parts.np, "fromfile", reading)
    with Allocations() as made:
        found = load_part(checkpoints[family])
    ours = 0
    for (name, whole), (other, part) in zip(
        expected.named_parameters(), found.named_parameters(), strict=True
    ):
        assert name == other
        rows = whole.chunk(NUM_RANKS)[rank] if rank < len(whole.chunk(NUM_RANKS)) else whole[:0]
        assert torch.equal(part.to_local(), rows)
        ours += rows.numel() * 4
    for (name, whole), (other, part) in zip(
        expected.named_buffers(), found.named_buffers(), strict=True
    ):
        assert name == other
        assert torch.equal(part, whole)
    assert sum(read) == ours < 0.5 * size
    # its part, and what is freed again: all tensors ever made are together less than the model
    assert ours <= made.num_bytes < size
    assert found.config.to_dict() == expected.config.to_dict()
    assert found.generation_config.to_dict() == expected.generation_config.to_dict()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_what_is_stored_in_another_dtype_is_read_as_fp32(dtype, tmp_path, as_rank):
    manifest = build_checkpoint(tmp_path / "olmo")
    rewrite(manifest, lambda tensors: {name: each.to(dtype) for name, each in tensors.items()})
    expected = load_model(manifest, device=CPU)
    as_rank(1)
    for whole, part in zip(expected.parameters(), load_part(manifest).parameters(), strict=True):
        assert part.dtype == torch.float32
        assert torch.equal(part.to_local(), whole.chunk(NUM_RANKS)[1])


def test_a_tensor_that_is_missing_is_told(tmp_path, as_rank):
    manifest = build_checkpoint(tmp_path / "llama", "llama")
    rewrite(manifest, lambda tensors: {k: v for k, v in tensors.items() if "lm_head" not in k})
    as_rank(1)
    with pytest.raises(UserError, match=r"holds no tensor for lm_head\.weight"):
        load_part(manifest)


def rewrite(manifest, change):
    """Change a checkpoint's tensors, and its manifest with them."""
    weights = manifest.with_name("model.safetensors")
    save_file(change(load_file(weights)), weights, metadata={"format": "pt"})
    content = read_json(manifest)
    content["files"] |= describe_files([weights])
    write_json(manifest, content)


def test_a_whole_gradient_has_room_where_the_arithmetic_says():
    """Of 7B: 4 bytes each, beside 16 divided by the ranks, in three quarters of the memory."""
    card, large = 80 * 2**30, 141 * 10**9
    assert [has_room(6_900_000_000, ranks, card) for ranks in (2, 4, 8)] == [False, True, True]
    assert has_room(6_900_000_000, 2, large)
    assert has_room(1_200_000_000, 2, card)
