"""Metrics of the `evaluate` library: by path, by name from a Hub on the loopback, and without one."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness.errors import RemoteError, RunError, UsageError
from harness.metrics import CorpusMetric, build

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
