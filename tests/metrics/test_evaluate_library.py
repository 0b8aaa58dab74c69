"""Metrics of the `evaluate` library: by path, by name from a Hub on the loopback, and without one."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness.errors import RemoteError, RunError, UsageError
from harness.evaluation.score import Scorer
from harness.metrics import CorpusMetric, build
from harness.spec.schema import Task
from harness.types import Prediction, Sample

pytestmark = pytest.mark.heavy  # importing evaluate imports torch

SCRIPT = """
import datasets
import evaluate

class Hits(evaluate.Metric):
    def _info(self):
        columns = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
        features = datasets.Features(columns)
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references, scale=1.0):
        hits = sum(map(str.__eq__, predictions, references))
        return {"rate": scale * hits / len(references), "hits": hits, "each": [1, 2]}
"""


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluate")  # one for all: Python keeps the modules' folder once imported


@pytest.fixture(autouse=True)
def _own_caches(monkeypatch, caches):
    import evaluate

    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", caches / "modules")
    monkeypatch.setattr(evaluate.config, "DOWNLOADED_EVALUATE_PATH", caches / "downloads")
    monkeypatch.setattr(evaluate.config, "HUB_EVALUATE_URL", "http://127.0.0.1:9/{path}/{revision}/{name}")


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "somewhere" / "hits_of_mine.py"
    path.parent.mkdir()
    path.write_text(SCRIPT)
    return path


def corpus_metric(**options):
    metric = build("evaluate", options)
    assert isinstance(metric, CorpusMetric)
    return metric


def test_a_local_script_works_offline(script):
    metric = corpus_metric(path=str(script), key="rate", arguments={"scale": 100})
    assert metric.name == "hits_of_mine"
    assert metric.compute(["a", "b"], ["a", "c"]) == 50
    assert metric.compute(["a"], ["a"]) == 100
    assert metric.higher_is_better
    assert str(script.parent) not in metric.signature
    assert "key:rate|scale:100|normalizer:none" in metric.signature


def test_the_signature_follows_the_source(script):
    before = corpus_metric(path=str(script), key="rate").signature
    script.write_text(SCRIPT + "# changed\n")
    assert corpus_metric(path=str(script), key="rate").signature != before


def test_a_result_with_several_entries_needs_a_key(script):
    with pytest.raises(UsageError, match="'rate', 'hits', 'each'") as raised:
        corpus_metric(path=str(script)).compute(["a"], ["a"])
    assert "key" in raised.value.hint
    with pytest.raises(UsageError, match="no number"):
        corpus_metric(path=str(script), key="each").compute(["a"], ["a"])


def test_a_failing_metric_is_a_typed_error(script):
    with pytest.raises(RunError, match="unexpected keyword argument 'factor'"):
        corpus_metric(path=str(script), arguments={"factor": 2}).compute(["a"], ["a"])


def test_a_missing_script_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"there is no metric script at .*none\.py"):
        corpus_metric(path=str(tmp_path / "none.py")).compute(["a"], ["a"])


@pytest.mark.network
def test_a_name_comes_from_the_hub(monkeypatch):
    import evaluate

    with hub({"/evaluate-metric/hits/main/hits.py": SCRIPT}) as url:
        monkeypatch.setattr(evaluate.config, "HUB_EVALUATE_URL", url + "/{path}/{revision}/{name}")
        assert corpus_metric(path="hits", key="rate").compute(["a", "b"], ["a", "c"]) == 0.5


def test_without_network_a_name_is_an_error_that_says_what_works():
    with pytest.raises(RemoteError, match="metric 'meteor'") as raised:
        corpus_metric(path="meteor").compute(["a"], ["a"])
    assert "by its path" in raised.value.hint


def test_errors_of_the_library_are_better_when_lower():
    assert not corpus_metric(path="ter").higher_is_better
    assert not corpus_metric(path="someone/perplexity").higher_is_better
    assert corpus_metric(path="ter", higher_is_better=True).higher_is_better


SEVERAL = """
import datasets
import evaluate

class Any(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": datasets.Sequence(text)})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        right = [prediction in texts for prediction, texts in zip(predictions, references)]
        return {"any": sum(right) / len(right)}
"""


@pytest.fixture
def several(tmp_path):
    path = tmp_path / "any.py"
    path.write_text(SEVERAL)
    return str(path)


def test_several_references_and_an_average_over_samples(several):
    """The interval of a mean is that of its samples' scores, for one call per sample instead of per draw."""
    task = {
        "name": "captions",
        "kind": "captioning",
        "data": {"path": "none", "columns": {"image": "image", "target": "captions"}},
        "model": {"checkpoint": "none"},
        "metrics": [{"evaluate": {"path": several}}, {"evaluate": {"path": several, "averaged": True}}],
        "statistics": {"draws": 100},
    }
    scorer = Scorer(Task.model_validate(task))
    for number in range(12):
        texts = ["a dog", "a cat"] if number % 3 else ["a bus"]
        scorer.add(Sample(str(number), {}, texts, str(number)), str(number), Prediction(str(number), "a cat"))
    calls: list[int] = []
    averaged = scorer.scored[1].metric
    assert isinstance(averaged, CorpusMetric)
    compute = type(averaged).compute

    def counted(self, predictions, targets):
        calls.append(len(predictions))
        return compute(self, predictions, targets)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(averaged), "compute", counted)
        drawn, mean = scorer.parts().values()
    assert len([size for size in calls if size == 1]) == 12
    assert len(calls) == 12 + 1 + 100  # each sample; then all of them, and every draw, for the other metric
    assert drawn.ci95 == pytest.approx(mean.ci95)
    assert drawn.value == mean.value == pytest.approx(8 / 12)


def test_only_known_means_are_averaged_unasked():
    assert build("evaluate", {"path": "someone/meteor"}).averaged  # type: ignore[union-attr]
    assert not build("evaluate", {"path": "rouge"}).averaged  # type: ignore[union-attr]


def test_missing_data_of_nltk_say_how_to_get_them(tmp_path):
    path = tmp_path / "meteor.py"
    path.write_text(
        SEVERAL.replace(
            "right = [",
            "raise LookupError(\"Resource x. >>> nltk.download('punkt_tab')\")\n        right = [",
        )
    )
    with pytest.raises(UsageError, match="'meteor' needs NLTK's data 'punkt_tab'") as raised:
        corpus_metric(path=str(path)).compute(["a"], [["a"]])
    assert "python -m nltk.downloader punkt_tab" in raised.value.hint


def test_a_missing_package_is_named(tmp_path):
    path = tmp_path / "needy.py"
    path.write_text("import a_package_that_is_nowhere\n" + SEVERAL)
    with pytest.raises(UsageError, match="pip install a_package_that_is_nowhere"):
        corpus_metric(path=str(path)).compute(["a"], [["a"]])


class hub:  # noqa: N801 (used like contextlib.closing)
    """Files by path on a server of the loopback interface."""

    def __init__(self, files):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = files.get(self.path, "").encode()
                self.send_response(200 if body else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()
