"""What presidio finds in texts without a model for names; run by its own Python.

    PEER_PYTHON tests/benchmarks/presidio_peer.py TEXTS.json

Needs `pip install presidio-analyzer==2.2.366`; imports nothing of this project. English, spaCy's
blank pipeline (its models are on no package index), the kinds that the audit's own patterns have,
otherwise its defaults; the engine is loaded before the clock starts.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

import spacy
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import SpacyNlpEngine

KINDS = {
    "EMAIL_ADDRESS": "e-mail",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "credit card",
    "IBAN_CODE": "IBAN",
    "IP_ADDRESS": "IP address",
    "US_SSN": "US SSN",
}


class _BlankEngine(SpacyNlpEngine):  # type: ignore[misc]
    def load(self) -> None:
        self.nlp = {"en": spacy.blank("en")}


def main() -> None:
    logging.disable(logging.WARNING)
    texts = json.loads(Path(sys.argv[1]).read_text())
    engine = _BlankEngine([{"lang_code": "en", "model_name": "blank"}])
    engine.load()
    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"], nlp_engine=engine)
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])
    analyzer.analyze(text="warm up", language="en", entities=[*KINDS])
    start = time.process_time()
    found = [
        [
            (KINDS[hit.entity_type], text[hit.start : hit.end])
            for hit in analyzer.analyze(text=text, language="en", entities=[*KINDS])
        ]
        for text in texts
    ]
    print(json.dumps({"hits": found, "seconds": time.process_time() - start}))


if __name__ == "__main__":
    main()
