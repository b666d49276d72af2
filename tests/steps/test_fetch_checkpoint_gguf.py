"""Checkpoints from GGUF: the weights dequantised, the tokenizer kept, damage refused."""

import json

import gguf
import numpy as np
import pytest
import torch

from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.job.errors import UserError
from ke_steps.models.loading import load_model
from ke_steps.texts.tokenizers import load_tokenizer
from tests.invented.fetching import fetch_local
from tests.invented.models import EOS_ID, PAD_ID, build_model, build_tokenizer


def interleave(weight, num_heads):
    """Order the rows of a query or key projection as GGUF's Llama does: rotary pairs adjacent."""
    rows, width = weight.shape
    return (
        weight.reshape(num_heads, 2, rows // num_heads // 2, width)
        .swapaxes(1, 2)
        .reshape(rows, width)
    )


GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def build_gguf(path, model, tokenizer_directory, architecture="llama"):
    """Write a Llama with its tokenizer as GGUF, feed-forward weights in Q8_0, the rest in F32."""
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    bpe = json.loads((tokenizer_directory / "tokenizer.json").read_text())["model"]
    tokens = sorted(bpe["vocab"], key=bpe["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_token_merges([" ".join(pair) for pair in bpe["merges"]])
    writer.add_bos_token_id(EOS_ID)
    writer.add_eos_token_id(EOS_ID)
    writer.add_pad_token_id(PAD_ID)
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
        stem = name.removesuffix(".weight")
        if stem in top:
            writer.add_tensor(top[stem] + ".weight", array)
            continue
        _, _, layer, part = stem.split(".", 3)
        if part.endswith(("q_proj", "k_proj")):
            array = interleave(array, config.num_attention_heads)
        quantised = gguf.GGMLQuantizationType.Q8_0
        keywords = {}
        if part.startswith("mlp"):
            array, keywords = gguf.quantize(array, quantised), {"raw_dtype": quantised}
        writer.add_tensor(f"blk.{layer}.{GGUF_NAMES[part]}.weight", array, **keywords)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def llama_gguf(tmp_path_factory):
    directory = tmp_path_factory.mktemp("gguf")
    model = build_model("llama")
    tokenizer_directory = build_tokenizer(directory / "tokenizer")
    path = directory / "tiny.Q8_0.gguf"
    build_gguf(path, model, tokenizer_directory)
    return path, model, tokenizer_directory


def test_gguf_becomes_a_checkpoint(tmp_path, llama_gguf):
    path, model, tokenizer_directory = llama_gguf
    manifest = fetch_local(path, tmp_path / "out" / "manifest.json", "gguf")
    described = read_checkpoint_manifest(manifest)
    assert described["architecture"] == "LlamaForCausalLM"
    assert {tensor["dtype"] for tensor in described["tensors"].values()} == {"F32"}
    loaded = load_model(manifest, device=CPU)
    weights = model.state_dict()
    quantised = gguf.GGMLQuantizationType.Q8_0
    for name, tensor in loaded.state_dict().items():
        expected = weights[name].numpy()
        if "mlp" in name:
            expected = gguf.dequantize(gguf.quantize(expected, quantised), quantised)
        np.testing.assert_array_equal(tensor.numpy(), expected)
    tokenizer, original = (load_tokenizer(d) for d in (manifest.parent, tokenizer_directory))
    text = "The river Tamsin flows past 12 lamps."
    assert tokenizer.encode(text) == original.encode(text)
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (EOS_ID, PAD_ID)


@pytest.mark.parametrize("keep", [0, 100, 5000, -2000])
def test_damaged_gguf_is_refused_in_one_line(tmp_path, llama_gguf, keep):
    path = tmp_path / "cut.gguf"
    path.write_bytes(llama_gguf[0].read_bytes()[:keep])
    with pytest.raises(UserError, match="not a readable GGUF file") as refusal:
        fetch_local(path, tmp_path / "out" / "manifest.json", "gguf")
    assert "\n" not in str(refusal.value)


def test_gguf_with_nan_is_refused(tmp_path, llama_gguf):
    tokenizer_directory = llama_gguf[2]
    broken = build_model("llama")
    with torch.no_grad():
        broken.model.norm.weight[3] = np.nan
    build_gguf(tmp_path / "nan.gguf", broken, tokenizer_directory)
    with pytest.raises(UserError, match=r"tensor model\.norm\.weight holds NaN or Inf"):
        fetch_local(tmp_path / "nan.gguf", tmp_path / "out" / "manifest.json", "gguf")


CPU = torch.device("cpu")
