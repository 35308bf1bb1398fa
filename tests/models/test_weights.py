"""Weights that are missing, renamed, cut short, quantised or something else are refused when a model is prepared."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from gguf_model import write_gguf
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertLMHeadModel,
    LlamaConfig,
    LlamaForSequenceClassification,
    ViTConfig,
    ViTModel,
)

from sami.errors import UserError
from sami.models import prepare as preparation
from sami.models import pretrained, weight_files
from sami.settings.models import Model

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 538090408\n"


@pytest.fixture
def source(tiny_source, tmp_path) -> Path:
    """A copy of the tiny Llama to spoil. Its vocabulary head is tied to its embeddings, so it is not in the file."""
    return Path(shutil.copytree(tiny_source, tmp_path / "source"))


def prepare(source: Path, output: Path | None = None, **entry) -> Path:
    output = output or source.parent / "prepared"
    preparation.prepare("m", Model(source="path", path=str(source), **entry), output)
    return output


def refused(source: Path, told: str, **entry) -> str:
    """The message; what has been written is no concern here, since a stage keeps nothing of what it refuses."""
    with pytest.raises(UserError, match=f"^model 'm': .*{told}") as error:
        prepare(source, **entry)
    return str(error.value)


def rewrite(source: Path, change) -> None:
    """Saves the weights of a folder again, changed."""
    file = source / "model.safetensors"
    weights = change(load_file(file))
    save_file({name: weight.contiguous().clone() for name, weight in weights.items()}, file)


def split(source: Path, index: bool = True) -> list[Path]:
    """Divides the weights of a folder into three files."""
    weights, files = list(load_file(source / "model.safetensors").items()), []
    (source / "model.safetensors").unlink()
    for number in range(3):
        files.append(source / f"model-{number + 1:05}-of-00003.safetensors")
        save_file(dict(weights[number::3]), files[-1])
    if index:
        names = {name: files[number % 3].name for number, (name, _) in enumerate(weights)}
        (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    return files


def same(one: Path, other: Path) -> bool:
    """Whether two prepared folders hold the same model."""
    pairs = zip(pretrained.load(one).state_dict().items(), pretrained.load(other).state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.mark.parametrize(
    "renamed",
    [
        lambda name, _: f"_orig_mod.{name}",
        lambda name, _: f"module.{name}",
        lambda name, _: f"base_model.model.{name}",
        lambda name, _: f"module._orig_mod.module.{name}",
        lambda name, _: f"base_model.model.{name}".replace("q_proj.", "q_proj.base_layer."),
        lambda name, _: f"_fsdp_wrapped_module.{name}".replace("layers.1.", "layers.1._fsdp_wrapped_module."),
        lambda name, _: name.replace("layers.0.", "layers.0._checkpoint_wrapped_module._orig_mod."),
        lambda name, number: f"_forward_module.{name}" if number % 2 else name,
    ],
)
def test_prefixes_of_wrappers_are_stripped(source, tiny, caplog, renamed):
    caplog.set_level(logging.INFO)
    rewrite(source, lambda weights: {renamed(name, n): w for n, (name, w) in enumerate(weights.items())})
    prepared = prepare(source)
    assert same(prepared, tiny)
    assert load_file(prepared / "model.safetensors").keys() == load_file(tiny / "model.safetensors").keys()
    assert "read without prefixes such as" in caplog.text


def test_renamed_parts(source, tiny):
    rewrite(source, lambda weights: {f"_orig_mod.{name}": weight for name, weight in weights.items()})
    split(source)
    assert same(prepare(source), tiny)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda w: {name: weight for name, weight in w.items() if "layers.1." not in name},
            r"9 weights .* missing .*: model.layers.1.input_layernorm.weight, .* and 6 more",
        ),
        (
            lambda w: {n: x for n, x in w.items() if "embed" not in n},
            "model.embed_tokens.weight",
        ),  # nor is there a head
        (lambda w: w | {"model.norm.weight": torch.ones(31)}, r"norm.weight \(found \(31,\), expected \(32,\)\)"),
        (lambda w: {f"student.{n}": x for n, x in w.items()}, "no use for: student.model.embed_tokens.weight, "),
        (lambda w: {f"_orig_mod.{n}": x for n, x in w.items() if "layers.1." not in n}, "9 weights .* missing"),
        (lambda w: {n: x for m in w for n, x in ((m, w[m]), (f"module.{m}", w[m])) if "norm" not in n}, "missing"),
        (lambda w: w | {"base_model.model.layers.0.q.lora_A.default.weight": torch.ones(2, 2)}, "weights of adapters"),
        (lambda w: w | {"model.norm.weight": torch.tensor([torch.nan] * 32)}, "norm.weight holds values from nan"),
        (lambda w: w | {"model.norm.weight": torch.full((32,), torch.inf)}, "norm.weight holds values from inf"),
        (lambda w: w | {"model.norm.weight": torch.ones(32, dtype=torch.int8)}, r"quantised weights \(I8; .*norm"),
    ],
)
def test_weights_that_do_not_make_up_the_model(source, change, told):
    rewrite(source, change)
    refused(source, told)


def test_large_values_need_a_dtype_that_holds_them(source):
    rewrite(source, lambda weights: weights | {"model.norm.weight": torch.full((32,), 1e5)})
    assert "set 'dtype: bfloat16'" in refused(source, "from 100000.0", dtype="float16")
    pretrained.load(prepare(source, source.parent / "other", dtype="bfloat16"))


def test_unused_weights_are_told(source, tiny, caplog):
    rewrite(source, lambda weights: weights | {"v_head.weight": torch.ones(2)})
    assert same(prepare(source), tiny)
    assert "weights that the model does not use: 1, v_head.weight" in caplog.text


def test_mixed_dtypes(source, tiny):
    rewrite(source, lambda w: {n: x.to([torch.float64, torch.float32][i % 2]) for i, (n, x) in enumerate(w.items())})
    assert same(prepare(source), tiny)


@pytest.mark.parametrize("index", [True, False])
def test_parts_with_and_without_an_index(source, tiny, index):
    split(source, index)
    (source / "consolidated.safetensors").write_bytes(b"in a format of others")
    prepared = prepare(source)
    assert same(prepared, tiny)
    assert weight_files.weights_of(prepared) == sorted(prepared.glob("*.safetensors"))


@pytest.mark.parametrize("index", [True, False])
def test_missing_part(source, index):
    split(source, index)[1].unlink()
    refused(source, "1 of the 3 files that belong together are missing: model-00002-of-00003.safetensors")


def test_weight_in_two_parts(source):
    files = split(source, index=False)
    save_file(load_file(files[0]) | load_file(files[2]), files[2])
    refused(source, "model-00003-of-00003.safetensors: the weight .* stands in another part, too")


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("model.safetensors", POINTER, "model.safetensors: found a pointer of git-lfs"),
        ("tokenizer.json", POINTER, "tokenizer.json: found a pointer of git-lfs"),
        ("config.json", POINTER, "config.json: found a pointer of git-lfs"),
        ("tokenizer.model", POINTER, "tokenizer.model: found a pointer of git-lfs"),
        ("model.safetensors", "", "model.safetensors: the file is empty"),
        ("config.json", "", "config.json: the file is empty"),
        ("model.safetensors", "<!DOCTYPE html><html>Sign in</html>", "model.safetensors: found a web page"),
        ("model.safetensors", '{"error": "no such repository"}', "this is no safetensors file"),
        ("config.json", '{"model_type": "lla', "config.json: this is no JSON"),
        ("config.json", "[]", "config.json: found list, expected a JSON mapping"),
        ("config.json", "{}", "transformers cannot read it: .*model_type"),
        ("tokenizer.json", "{}", "transformers cannot read it"),
        ("adapter_config.json", "{}", "found an adapter .*merge_and_unload"),
    ],
)
def test_something_else_in_place_of_a_file(source, file, content, told):
    (source / file).write_text(content)
    refused(source, told)


def test_pointer_in_place_of_one_part(source):
    split(source)[2].write_text(POINTER)
    refused(source, "model-00003-of-00003.safetensors: found a pointer of git-lfs")


@pytest.mark.parametrize("left", [4, 1000, -1])
def test_cut_short(source, left):
    file = source / "model.safetensors"
    file.write_bytes(file.read_bytes()[:left])
    refused(source, "model.safetensors: (this is no safetensors file|found .* bytes, expected .* not whole)")


def test_no_tokenizer(source):
    for file in source.glob("tokenizer*"):
        file.unlink()
    refused(source, "transformers cannot read it")


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq"])
def test_quantised(source, method):
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": method}}))
    refused(source, rf"quantised weights \({method}; config.json: quantization_config\)")


SIZES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "vocab_size": 600,
}


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: BertForMaskedLM(BertConfig(**SIZES)), "BertForMaskedLM, expected a causal language model"),
        (lambda: BertLMHeadModel(BertConfig(**SIZES)), "attention of BertLMHeadModel looks at later tokens, too"),
        (
            lambda: ViTModel(ViTConfig(**{k: v for k, v in SIZES.items() if k != "vocab_size"})),
            "ViTModel, expected a causal language model",
        ),
        (
            lambda: LlamaForSequenceClassification(LlamaConfig(**SIZES, tie_word_embeddings=True)),
            "LlamaForSequenceClassification, expected a causal language model",
        ),
    ],
)
def test_models_that_write_no_text(source, made, told):
    made().save_pretrained(source)
    refused(source, told)


def test_weights_that_go_after_preparation(source):
    prepared = prepare(source)
    rewrite(source, lambda weights: {name: weight for name, weight in weights.items() if "layers.1." not in name})
    with pytest.raises(UserError, match=r"9 weights .* missing .*: model.layers.1.input_layernorm"):
        pretrained.load(prepared)
    (source / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"a link to .*source/model.safetensors, which is not there"):
        pretrained.load(prepared)


def test_head_that_differs_although_the_configuration_ties_it(source):
    """All readers of the prepared folder agree, among them those that go by the configuration."""
    head = torch.randn(load_file(source / "model.safetensors")["model.embed_tokens.weight"].shape)
    rewrite(source, lambda weights: weights | {"lm_head.weight": head})
    prepared = prepare(source)
    assert not pretrained.config(prepared).tie_word_embeddings
    assert torch.equal(pretrained.load(prepared).lm_head.weight, head)


@pytest.fixture(scope="module")
def from_gguf(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    return prepare(write_gguf(folder / "whole.gguf")[0])


@pytest.mark.parametrize("given", [0, 1, 2])
def test_all_parts_of_a_gguf_file_are_read(from_gguf, tmp_path, given):
    prepared = prepare(write_gguf(tmp_path / "model.gguf", parts=3)[given])
    assert same(prepared, from_gguf)
    assert (prepared / "tokenizer.json").read_text() == (from_gguf / "tokenizer.json").read_text()
    assert not [path for path in prepared.iterdir() if path.is_dir()]


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0"])
def test_numbers_of_gguf_files(from_gguf, tmp_path, kind):
    prepared = prepare(write_gguf(tmp_path / "model.gguf", parts=2, kind=kind)[0])
    pairs = zip(pretrained.load(prepared).parameters(), pretrained.load(from_gguf).parameters(), strict=True)
    assert 0 < max(float((a - b).detach().abs().max()) for a, b in pairs) < 3e-2


def test_parts_of_a_gguf_file_that_are_not_there(tmp_path):
    files = write_gguf(tmp_path / "model.gguf", parts=3)
    (tmp_path / "other").mkdir()
    renamed = shutil.copy(files[0], tmp_path / "other/renamed.gguf")
    refused(renamed, "part 1 of 3 by its own metadata, but its name says part 1 of 1")
    files[2].unlink()
    refused(
        files[0],
        "1 of the 3 files .* missing: model-00003-of-00003.gguf",
    )


def test_gguf_files_that_are_not_whole(tmp_path):
    (file,) = write_gguf(tmp_path / "model.gguf", drop="blk.1.")
    refused(file, r"9 weights .* missing .*: model.layers.1.input_layernorm.weight, ")
    whole = write_gguf(tmp_path / "whole.gguf")[0].read_bytes()
    for content, told in (
        (whole[:2000], "not a whole GGUF file"),
        (whole[:-1000], "not a whole GGUF file"),
        (b"", "the file is empty"),
        (POINTER.encode(), "found a pointer of git-lfs"),
        (b"<html>", "found a web page"),
        (b"something", "this is no GGUF file"),
    ):
        file.write_bytes(content)
        shutil.rmtree(tmp_path / "prepared", ignore_errors=True)
        refused(file, f"model.gguf: {told}")


def test_unused_weights_of_a_gguf_file_are_told(tmp_path, caplog):
    prepare(write_gguf(tmp_path / "model.gguf", extra=True)[0])
    assert "weights that the model does not use: 1, blk.0.attn_q_extra.weight" in caplog.text
