"""Isolation of tenants as one property: a tenant among others gets exactly what it gets alone.

A random program of two to four tenants, with hostile names, topics and filters, runs on one broker; then the part of
each tenant runs on a broker of its own. Every byte that a client receives, every code, alias and close, and every
figure that is counted of the tenant must be the same, and no step may move anything of another tenant.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.tenants import Output, Step, Tenants, make_program

STEPS = 2_000
PROGRAMS = 100
"""200,000 steps in all, and each of them again alone."""

NAMES = (
    "a",
    "A",
    "b",
    "a-b",
    "a b",
    "\N{CYRILLIC SMALL LETTER A}",
    "e\N{COMBINING ACUTE ACCENT}",
    "\N{LATIN SMALL LETTER E WITH ACUTE}",
    "x${clientid}",
    "share",
    "SYS",
    "x$SYS",
    "\N{FULLWIDTH NUMBER SIGN}",
    "\N{FULLWIDTH PLUS SIGN}",
    "\N{DIVISION SLASH}",
    "none such",
)


def play(names: Sequence[str | None], program: Sequence[Step]) -> tuple[list[list[Output]], list[dict[str, object]]]:
    """Run a program; return what each step gave each tenant, and the figures of those who are there."""

    async def run() -> tuple[list[list[Output]], list[dict[str, object]]]:
        with tempfile.TemporaryDirectory() as folder, structlog.testing.capture_logs():
            tenants = Tenants(Path(folder), names)
            try:
                outputs = [tenants.run(step) for step in program]
                figures = [tenants.figures(index) if name is not None else {} for index, name in enumerate(names)]
            finally:
                tenants.close()
            return outputs, figures

    return asyncio.run(run())


def check(names: Sequence[str], program: Sequence[Step]) -> None:
    together, figures = play(names, program)
    for number, (step, outputs) in enumerate(zip(program, together, strict=True)):
        for tenant, output in enumerate(outputs):
            assert not output or tenant == step.tenant, (number, names[step.tenant], names[tenant], output)
    for tenant, name in enumerate(names):
        own = [(number, step) for number, step in enumerate(program) if step.tenant == tenant]
        alone, alone_figures = play(
            [name if index == tenant else None for index in range(len(names))], [step for _, step in own]
        )
        for (number, _), outputs in zip(own, alone, strict=True):
            assert together[number][tenant] == outputs[tenant], (number, name)
        assert figures[tenant] == alone_figures[tenant], name


@pytest.mark.timeout(900)
@settings(
    max_examples=PROGRAMS,
    deadline=None,
    derandomize=True,
    # A failure names its step; a smaller program would be another one.
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
@given(names=st.lists(st.sampled_from(NAMES), min_size=2, max_size=4, unique=True), seed=st.integers(0, 1 << 32))
def test_tenant_among_others_gets_what_it_gets_alone(names: list[str], seed: int) -> None:
    check(names, make_program(seed, names, STEPS))
