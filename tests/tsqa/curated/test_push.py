"""Promises of tsqa.curated.push: the right folder, clear errors, nothing private in public."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import RepoUrl

from tests.support.curated_rows import curated_row, rejected_row
from tsqa.curated.card import with_audit
from tsqa.curated.files import DatasetWriter
from tsqa.curated.push import push
from tsqa.errors import DataError, TsqaError
from tsqa.records.quality import QualityMeasure, QualityReport


class FakeHub:
    """Stands in for HfApi; remembers what was asked of it."""

    def __init__(self, is_public: bool = False, error: Exception | None = None) -> None:
        self.is_public, self.error = is_public, error
        self.created: dict[str, Any] = {}
        self.uploaded: dict[str, Any] = {}

    def create_repo(self, repo_id: str, **options: Any) -> RepoUrl:
        self.created = {"repo_id": repo_id, **options}
        return RepoUrl(f"https://huggingface.co/datasets/someone/{repo_id}")

    def repo_info(self, repo_id: str, **options: Any) -> Any:
        return type("Info", (), {"private": not self.is_public})()

    def upload_folder(self, **options: Any) -> None:
        if self.error:
            raise self.error
        self.uploaded = options

    def upload_file(self, **options: Any) -> None:
        self.file = options


@pytest.fixture
def built(tmp_path: Path) -> Path:
    with DatasetWriter(tmp_path) as writer:
        writer.curated(curated_row(0))
        writer.rejected(rejected_row(1))
    (tmp_path / "dataset" / "README.md").write_text("---\nlicense: mit\n---\n")
    return tmp_path


def use(monkeypatch: pytest.MonkeyPatch, hub: FakeHub, token: str | None = "hf_x") -> FakeHub:
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: token)
    return hub


def test_only_the_dataset_folder_is_uploaded(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = use(monkeypatch, FakeHub())
    assert push(built, "toy", private=True) == "https://huggingface.co/datasets/someone/toy"
    assert hub.created == {
        "repo_id": "toy",
        "repo_type": "dataset",
        "private": True,
        "exist_ok": True,
    }
    assert hub.uploaded["folder_path"] == built / "dataset"
    assert hub.uploaded["repo_id"] == "someone/toy"
    assert hub.uploaded["repo_type"] == "dataset"


def test_an_audit_is_on_the_card_that_is_uploaded(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import inspect

    copied = QualityMeasure(
        dimension="privacy",
        name="copied | spans",
        limits="by words",
        value=0.25,
        low=0.1,
        high=0.4,
        reference=0.0,
        apart=True,
    )
    lost = QualityMeasure(dimension="bias", name="lost", limits="", missing="/home/ann/a file")
    audit = QualityReport("toy", "f", "s", "d", 0, 9, 9, 9, [], [copied, lost])
    real = inspect.signature(huggingface_hub.HfApi.upload_file)
    hub = use(monkeypatch, FakeHub())
    push(built, "toy", private=True, audit=audit)
    real.bind(None, **hub.file)
    card = hub.file["path_or_fileobj"].decode()
    assert hub.file["path_in_repo"] == "README.md" and card.startswith("---\nlicense: mit\n---\n")
    assert "| \\* privacy: copied \\| spans | 0.250 [0.100, 0.400] | 0.000: |" in card
    assert "Not measured: lost." in card and "/home" not in card
    whole = with_audit("# Toy\n\n## Coverage\n\nall\n", audit)
    assert whole.index("## Audit") < whole.index("## Coverage") and whole.endswith("\n\nall\n")


def test_the_real_client_takes_these_arguments(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import inspect

    real = inspect.signature(huggingface_hub.HfApi.upload_folder)
    hub = use(monkeypatch, FakeHub())
    push(built, "toy", private=False)
    real.bind(None, **hub.uploaded)


def test_a_missing_token_is_said_before_any_call(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = use(monkeypatch, FakeHub(), token=None)
    with pytest.raises(TsqaError, match=r"no Hugging Face token\n  fix: .*HF_TOKEN"):
        push(built, "toy", private=True)
    assert not hub.created


def test_private_data_never_reaches_a_public_repository(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = use(monkeypatch, FakeHub(is_public=True))
    with pytest.raises(TsqaError, match=r"someone/toy is already there and public"):
        push(built, "toy", private=True)
    assert not hub.uploaded
    push(built, "toy", private=False)
    assert hub.uploaded


def test_a_refusal_of_the_hub_is_a_clear_error(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FakeHub(error=PermissionError("403 Forbidden")))
    with pytest.raises(TsqaError, match=r"push to toy failed: PermissionError: 403 Forbidden\n"):
        push(built, "toy", private=True)


def test_a_dataset_without_card_is_not_pushed(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = use(monkeypatch, FakeHub())
    (built / "dataset" / "README.md").unlink()
    with pytest.raises(DataError, match=r"README\.md: missing"):
        push(built, "toy", private=True)
    assert not hub.created
