"""Formats that are read by their structure: each hostile file for its own reason, honest ones only for not being served yet."""

from __future__ import annotations

import json

import msgspec
import pytest
from evil_models import tensors_file
from evil_structures import TEMPLATES, all_structures, served_structures, unserved_structures

from casemate.core import Finding, Verdict, verdict_of
from casemate.scanning import ScanLimits
from casemate.scanning.inspection import inspect_files

EVIL = all_structures()
UNSERVED = unserved_structures()
SERVED = served_structures()
LLAMA_3 = (  # as the tokenizers of published models have it
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def inspected(files: dict[str, bytes]) -> tuple[Verdict, set[str], dict]:
    answer = inspect_files({path: memoryview(data).toreadonly() for path, data in files.items()}, ScanLimits())
    findings = msgspec.convert(answer["findings"], list[Finding])
    return verdict_of(findings), {finding.id for finding in findings}, answer


@pytest.mark.parametrize("name", EVIL)
def test_a_hostile_file_is_refused_for_its_reason(name: str) -> None:
    files, finding = EVIL[name]
    verdict, ids, answer = inspected(files)
    assert verdict is Verdict.REFUSED
    assert finding in ids, answer["findings"]


@pytest.mark.parametrize("name", UNSERVED)
def test_an_honest_file_is_refused_only_because_nothing_serves_it(name: str) -> None:
    files, kind = UNSERVED[name]
    _, ids, answer = inspected(files)
    assert (ids - {"archive-not-served"}, answer["format"]) == ({"format-unsupported"}, kind), answer["findings"]


@pytest.mark.parametrize("name", SERVED)
def test_an_honest_file_that_a_runtime_loads_is_clean(name: str) -> None:
    files, runtime = SERVED[name]
    verdict, ids, answer = inspected(files)
    assert (verdict, ids) == (Verdict.CLEAN, set()), answer["findings"]
    assert answer["served"] == {"path": min(files), "runtime": runtime}


def test_a_folder_of_a_hub_with_weights_and_configuration_alone_passes() -> None:
    files = {
        "model.safetensors": tensors_file({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}),
        "config.json": json.dumps({"architectures": ["BertModel"], "_name_or_path": "bert-base"}).encode(),
        "tokenizer_config.json": json.dumps({"chat_template": LLAMA_3}).encode(),
        "chat_template.jinja": LLAMA_3.encode(),
        "README.md": b"# A model\n",
    }
    assert inspected(files)[:2] == (Verdict.CLEAN, set())
    files["tokenizer_config.json"] = json.dumps({"chat_template": TEMPLATES["endless"]}).encode()
    assert "chat-template-code" in inspected(files)[1]
