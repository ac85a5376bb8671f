"""One compiler for all tests: it has no state but its parser's tables."""

import pytest

from pybroker.variform.compile import Compiler
from tests.support.clock import FakeClock


@pytest.fixture(scope="session")
def compiler() -> Compiler:
    return Compiler(FakeClock(), {"EMQXVAR_A": "emqx", "EMQXVAR_B": "b", "PYBROKERVAR_A": "ours", "HOME": "/home"})
