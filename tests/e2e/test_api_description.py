"""The API keeps what its description says: requests made from the OpenAPI document by the thousand, right and wrong."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.test_admin_identity import BrokerFactory, free_port, log_in, settings
from tests.support.broker import Setting

_CHECKS = "no_defect,status_code_conformance,content_type_conformance,response_schema_conformance"
_ROOT = Path(__file__).parents[2]
_SEED = 20_261_124
"""One seed, so that a run that fails fails again; `API_SEED` in the environment is another one."""


@pytest.mark.timeout(900)
def test_no_request_is_answered_outside_of_the_description(broker_factory: BrokerFactory, tmp_path: Path) -> None:
    port = free_port()
    keys: dict[str, Setting] = {"dashboard.default_password": "Secret-123", "log.audit.enable": True}
    broker = broker_factory(settings(port, **keys))
    token = log_in(port, "Secret-123")
    document = tmp_path / "api.json"
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api-docs/swagger.json", headers={"authorization": token})
    with urllib.request.urlopen(request, timeout=10) as reply:
        document.write_bytes(reply.read())
    words = [sys.executable, "-m", "schemathesis.cli", "run", str(document)]
    words += ["--url", f"http://127.0.0.1:{port}/api/v5", "--header", f"Authorization: {token}", "--checks", _CHECKS]
    words += ["--phases", "coverage,fuzzing", "--max-examples", os.environ.get("API_EXAMPLES", "5")]
    words += ["--seed", os.environ.get("API_SEED", str(_SEED)), "--no-color", "--warnings", "off"]
    words += ["--continue-on-failure", "--no-shrink"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.support.api_checks", "PYTHONPATH": str(_ROOT)}
    run = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=800, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    tested = re.search(r"Tested: (\d+)", run.stdout)
    operations = sum(len(methods) for methods in json.loads(document.read_bytes())["paths"].values())
    assert tested is not None
    assert int(tested[1]) == operations
    assert "Traceback" not in broker.log
