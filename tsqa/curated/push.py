"""Uploads a curated dataset, with its card, to the Hugging Face hub.

Guarantees: only the folder `dataset` leaves the machine; a dataset meant to be private never
reaches a public repository; shards of an earlier, longer push do not stay behind.
"""

from __future__ import annotations

from pathlib import Path

from tsqa.curated.card import CARD, with_audit
from tsqa.curated.files import CURATED, DATASET
from tsqa.errors import DataError, TsqaError
from tsqa.records.quality import QualityReport


def push(folder: Path, repo: str, private: bool, audit: QualityReport | None = None) -> str:
    """Upload `dataset` of the filter artifact `folder`; return the URL of the repository.

    `audit`: of that artifact, for the card; the artifact itself never changes.

    Raises DataError when the dataset or its card is missing, TsqaError when there is no token or
    the hub refuses.
    """
    from huggingface_hub import HfApi, get_token

    for path in (folder / CURATED, folder / DATASET / CARD):
        if not path.exists():
            raise DataError(f"{path}: missing: nothing to push", "build it: tsqa filter RECIPE")
    if get_token() is None:
        raise TsqaError("no Hugging Face token", "run `hf auth login`, or set HF_TOKEN")
    api = HfApi()
    try:
        url = api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        if private and not api.repo_info(url.repo_id, repo_type="dataset").private:
            raise TsqaError(
                f"{url.repo_id} is already there and public, but you asked for --private",
                "choose another name, or make it private on the hub",
            )
        api.upload_folder(
            repo_id=url.repo_id,
            repo_type="dataset",
            folder_path=folder / DATASET,
            delete_patterns="data/*.parquet",
            commit_message="Upload by tsqa",
        )
        if audit is not None:
            card = (folder / DATASET / CARD).read_text(encoding="utf-8")
            api.upload_file(
                path_or_fileobj=with_audit(card, audit).encode(),
                path_in_repo=CARD,
                repo_id=url.repo_id,
                repo_type="dataset",
                commit_message="Audit by tsqa",
            )
    except TsqaError:
        raise
    except Exception as error:
        raise TsqaError(
            f"push to {repo} failed: {type(error).__name__}: {error}",
            "check the name, the rights of the token and the network; then push again",
        ) from error
    return str(url)
