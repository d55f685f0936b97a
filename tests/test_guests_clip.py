"""Guests: image-text models of open_clip made into readers by sentences, and any ONNX graph with a card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from radpipe.card import read_card
from radpipe.errors import BackendUnavailable, UsageError, WeightsError
from radpipe.models import open_model
from tests import guest_files

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")
pytest.importorskip("onnxscript")

from radpipe.guests import Asked, import_guest  # noqa: E402
from radpipe.guests.bert import Bert  # noqa: E402
from radpipe.guests.clip import PROMPTS, read_prompts  # noqa: E402

PAIRS = """
[pleural_effusion]
positive = ["there is a pleural effusion.", "pleural effusion left"]
negative = ["the lungs are clear"]
[cardiomegaly]
positive = ["heart enlarged"]
negative = ["heart size normal", "normal heart"]
"""


def _normal(values: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(values, dim=-1)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.toml"
    path.write_text(PAIRS)
    return path


def test_a_directory_of_open_clip_reads_by_the_softmax_of_two_sets_of_sentences(tmp_path: Path, prompts: Path) -> None:
    _, model = guest_files.write_open_clip(tmp_path / "clip")
    made = import_guest(str(tmp_path / "clip"), tmp_path / "models", "clip", asked=Asked(prompts=prompts))
    card = read_card(made.directory / "card.toml")
    assert made.report is not None
    assert made.report.onnx
    assert [label.finding for label in card.labels] == ["pleural_effusion", "cardiomegaly"]
    assert made.unset == ("pleural_effusion", "cardiomegaly")
    assert not any(label.assessed for label in card.labels)
    assert (card.input.channels, card.input.mean, card.input.fit) == (3, (0.5, 0.4, 0.3), "crop")
    batch = np.random.default_rng(0).normal(size=(3, 3, 32, 32)).astype(np.float32)
    with torch.no_grad():
        image = _normal(model.encode_image(torch.from_numpy(batch)))
        tokenizer = open_clip.SimpleTokenizer()
        sets = [[_normal(_normal(model.encode_text(tokenizer(list(s)))).mean(0)) for s in (p.positive, p.negative)]
                for p in read_prompts(prompts)]  # fmt: skip
        scale = model.logit_scale.exp()
        wanted = [torch.softmax(scale * image @ torch.stack(pair).T, dim=-1)[:, 0].numpy() for pair in sets]
    for backend in ("torch", "onnx"):
        answer = open_model(card, backend, "cpu", 1).predict(batch)
        np.testing.assert_allclose(answer.probabilities, np.stack(wanted, axis=1), atol=1e-4)
        np.testing.assert_allclose(answer.embedding, image.numpy(), atol=1e-4)
        assert answer.maps.shape == (3, 0, 0, 0)


def test_biomed_clips_layout_is_read_from_its_directory_alone(
    tmp_path: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No network, no transformers: BERT's tower and its vocabulary are read by code of ours."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    visual, state = guest_files.write_biomed_clip(tmp_path / "biomed")
    asked = Asked(prompts=prompts, licence="MIT", onnx=False)
    made = import_guest(str(tmp_path / "biomed"), tmp_path / "models", "biomed", "open_clip", asked)
    card = read_card(made.directory / "card.toml")
    assert card.licence == "MIT"
    assert "vit_tiny" in card.summary
    batch = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    answer = open_model(card, "auto", "cpu", 1).predict(batch)
    with torch.no_grad():
        np.testing.assert_allclose(answer.embedding, _normal(visual(torch.from_numpy(batch))).numpy(), atol=1e-5)
    assert ((answer.probabilities > 0) & (answer.probabilities < 1)).all()
    assert answer.probabilities[0, 0] != answer.probabilities[0, 1]
    text = {name.removeprefix("text."): tensor for name, tensor in state.items() if name.startswith("text.")}
    bert = Bert(text, None, "cls_last_hidden_state_pooler").eval()
    tokens = torch.tensor([[2, 4, 5, 6, 7, 3, 0, 0]])
    with torch.no_grad():
        padded = bert(tokens, (tokens != 0).long())
        short = bert(tokens[:, :6], torch.ones(1, 6, dtype=torch.long))
    np.testing.assert_allclose(padded.numpy(), short.numpy(), rtol=1e-4, atol=1e-4)


def test_a_directory_that_lacks_something_says_what(tmp_path: Path, prompts: Path) -> None:
    guest_files.write_biomed_clip(tmp_path / "biomed")
    (tmp_path / "biomed" / "vocab.txt").unlink()
    with pytest.raises(WeightsError, match=r"neither vocab.txt nor tokenizer.json"):
        import_guest(str(tmp_path / "biomed"), tmp_path / "models", "biomed", asked=Asked(prompts=prompts))
    (tmp_path / "biomed" / "open_clip_pytorch_model.bin").unlink()
    with pytest.raises(WeightsError, match="has no weights: none of open_clip_model"):
        import_guest(str(tmp_path / "biomed"), tmp_path / "models", "biomed")
    (tmp_path / "biomed" / "open_clip_config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"has no open_clip_config.json of an open_clip model"):
        import_guest(str(tmp_path / "biomed"), tmp_path / "models", "biomed")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_model_of_the_hub_without_a_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BackendUnavailable, match=r"cannot be fetched from the hub.*into a folder"):
        import_guest("hf-hub:nobody/nothing", tmp_path / "models", "far")
    with pytest.raises(UsageError, match="hf-hub:ORG/NAME"):
        import_guest("hf-hub:nothing", tmp_path / "models", "far")


def test_the_sentences_that_ship_cover_what_is_looked_for() -> None:
    from radpipe.codes import FINDINGS

    prompts = read_prompts(PROMPTS)
    assert {one.finding for one in prompts} == set(FINDINGS) - {"pneumoperitoneum"}
    for one in prompts:
        assert len(one.positive) >= 3
        assert len(one.negative) >= 3
        assert not set(one.positive) & set(one.negative)
